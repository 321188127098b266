"""A checkpoint that everything but a real engine takes for one."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scumble.models import PARTS, find_checkpoint
from scumble.testing import FakeEngine, fake_checkpoint, fake_session
from scumble.testing.fake_model import WORDS, words_of
from scumble.words import Tokenizer


def test_it_is_a_checkpoint(tmp_path: Path):
    made = fake_checkpoint(tmp_path / "deep" / "model", scheduler={"steps_offset": 0})
    assert find_checkpoint(made.folder) == made
    assert made.scheduler.steps_offset == 0
    assert made.unet["in_channels"] == 4


def test_its_safetensors_are_valid(tmp_path: Path):
    made = fake_checkpoint(tmp_path)
    for part in PARTS:
        data = (made.folder / part / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        assert header["placeholder"]["data_offsets"] == [0, len(data) - 8 - length]


def test_its_words_are_one_token_each(tmp_path: Path):
    tokenizer = Tokenizer.load(fake_checkpoint(tmp_path, words=["zebra"]).tokenizer)
    for word in (*WORDS.split(), "zebra"):
        assert tokenizer.encode(word).length == 3, word
    assert tokenizer.encode("quux").length == 6


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(words=st.lists(st.text(alphabet="abc\u00e9", min_size=1, max_size=6), max_size=12))
def test_any_words_can_be(tmp_path: Path, words: list[str]):
    """However their letters overlap."""
    tokenizer = Tokenizer.load(fake_checkpoint(tmp_path, words=words).tokenizer)
    for word in words:
        assert tokenizer.encode(word).length == 3


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A red cat, and a dog's", {"a", "red", "cat", "and", "dog", "s"}),
        ("", set()),
        ("7_é", {"é"}),
    ],
)
def test_words_of(prompt: str, words: set[str]):
    assert words_of(prompt, prompt) == words


def test_a_session(tmp_path: Path):
    class Other(FakeEngine):
        name = "other"

    session = fake_session(tmp_path, Other, precision="fp32")
    assert session.engine.name == "other"
    assert session.engine.dtype is np.float32
    assert len(session.tokenizer.encode("a cat").ids) == session.info.tokens
