import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scumble.session import Session
from scumble.words import Tokenizer
from scumble_bench.rooms import CHECKPOINT

LONG = "a photo of a room with a red carpet and a white sofa in it, a black cat on the carpet"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A real one, of byte pairs."""
    return Tokenizer.load(CHECKPOINT / "tokenizer")


def test_encode_a_prompt(benchmark: BenchmarkFixture, tokenizer: Tokenizer):
    prompt = benchmark(tokenizer.encode, LONG)
    assert prompt.text == LONG
    assert [word.text for word in prompt.words][:4] == ["a", "photo", "of", "a"]


def test_look_a_word_up(benchmark: BenchmarkFixture, tokenizer: Tokenizer):
    prompt = tokenizer.encode(LONG)
    found = benchmark(prompt.tokens_of, "carpet")
    words = [word for word in prompt.words if word.text == "carpet"]
    assert len(words) == 2
    assert found == tuple(
        token for word in words for token in prompt.tokens_in(word.start, word.end)
    )


def test_embed_a_prompt_that_is_known(benchmark: BenchmarkFixture, session: Session):
    first = session.embed("a red cat")
    assert benchmark(session.embed, "a red cat") is first
