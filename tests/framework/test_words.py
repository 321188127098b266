"""The tokenizer against transformers' CLIPTokenizer, and which tokens a word has."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.pre_tokenizers import ByteLevel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from scumble.errors import ModelError, PromptError
from scumble.words import Prompt, Tokenizer

WORDS = ("cat", "on", "mat", "red", "carpet", "the", "with", "hua", "!!")


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Every byte, plain and at the end of a word, and merges that make some words one token."""
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [letter + "</w>" for letter in letters]
    merges: list[tuple[str, str]] = []
    for word in (*(f"{word} " for word in WORDS), "chi", "hua"):
        parts = [*word.rstrip()]
        parts[-1] += "</w>" if word.endswith(" ") else ""
        while len(parts) > 1:
            pair = parts[0], parts[1]
            parts[:2] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                tokens.append(parts[0])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


def special(content: str) -> dict[str, object]:
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"__type": "AddedToken", "content": content, **flags}


def write_legacy(folder: Path, window: int = 77, **settings: object) -> Path:
    """A folder as the published checkpoints have it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    values = {
        "bos_token": special("<|startoftext|>"),
        "eos_token": special("<|endoftext|>"),
        "unk_token": special("<|endoftext|>"),
        "pad_token": "<|endoftext|>",
        "model_max_length": window,
        "do_lower_case": True,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(values | settings), encoding="utf-8")
    return folder


def added(*contents: str) -> dict[str, object]:
    vocab, _ = vocabulary()
    return {str(vocab[c]): special(c) | {"special": True} for c in contents}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tokenizers")
    result = {"legacy": write_legacy(root / "legacy")}
    result["pad !"] = write_legacy(root / "pad", pad_token="!")
    result["map"] = write_legacy(root / "map")
    (root / "map" / "special_tokens_map.json").write_text('{"pad_token": "!"}', encoding="utf-8")
    tokens = added("!", "<|startoftext|>", "<|endoftext|>")
    result["decoder"] = write_legacy(root / "dec", pad_token="!", added_tokens_decoder=tokens)
    (root / "dec" / "special_tokens_map.json").write_text('{"pad_token": "?"}', encoding="utf-8")
    for name in ("legacy", "pad !", "decoder"):
        saved = root / "saved" / name
        reader = CLIPTokenizer.from_pretrained(result[name])
        reader("a cat", padding="max_length", truncation=True)  # leaves both in the saved file
        reader.save_pretrained(saved)
        assert (saved / "tokenizer.json").is_file()
        assert not (saved / "vocab.json").is_file()
        result[f"saved {name}"] = saved
    return result


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer.load(folders["legacy"])


@pytest.fixture(scope="module")
def pairs(folders: dict[str, Path]) -> list[tuple[str, Tokenizer, Any]]:
    return [(n, Tokenizer.load(f), CLIPTokenizer.from_pretrained(f)) for n, f in folders.items()]


PROMPTS = [
    "",
    " ",
    "a cat on the mat",
    "A  Cat\ton\n the   MAT ",
    "a cat, on the mat!!",
    "wow! a red-carpet; 'quoted' it's they're I'd cat's",
    "a photo of 2023 cats (very:1.5) [x] a_b #1 50% $3 x^2",
    "un café crème, naïve façade, cafe\u0301",
    "ÄÖÜ ß İstanbul ǅ ﬁne Ⅳ ½ ²",
    "一只猫在垫子上 кошка हिन्दी العربية",
    "a 🐱 on 👩‍👩‍👧 and 🇩🇪",
    "a\u00a0cat\u2003on\u3000the\u200bmat\ufeff",
    "“cat” ‘on’ the cat’s — mat…",
    "a <|endoftext|> cat <|startoftext|>x <|ENDOFTEXT|> <|StartOfText|>",
    "!cat! ! !! !!! cat!",
    "cat " * 100,
    "chihuahua" * 20,
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_ids_are_those_of_transformers(prompt: str, pairs) -> None:
    for name, ours, theirs in pairs:
        expected = theirs(prompt, padding="max_length", max_length=77, truncation=True)
        result = ours.encode(prompt)
        assert result.ids.tolist() == expected["input_ids"], name
        assert result.ids.dtype == np.int64
        assert result.needed == len(theirs(prompt)["input_ids"]), name
        assert result.length == min(result.needed, 77)


printable = st.text(
    st.characters(exclude_categories=("Cc", "Cs")) | st.sampled_from(" \t\n.,!'catonmred1"),
    max_size=60,
)


@settings(max_examples=250, deadline=None)
@given(prompt=printable)
def test_ids_are_those_of_transformers_for_any_text(prompt: str, pairs) -> None:
    for name, ours, theirs in pairs:
        expected = theirs(prompt, padding="max_length", max_length=77, truncation=True)
        assert ours.encode(prompt).ids.tolist() == expected["input_ids"], name


@settings(max_examples=150, deadline=None)
@given(prompt=printable)
def test_spans_lie_in_the_text_and_words_own_every_token(prompt: str, tokenizer: Tokenizer) -> None:
    result = tokenizer.encode(prompt)
    assert len(result.spans) == len(result.ids) == 77
    inner = result.spans[1 : result.length - 1]
    assert all(0 <= start < end <= len(prompt) for start, end in inner)
    assert sorted(inner) == list(inner)
    owned = {i for c in result.chunks for i in result.tokens_in(c.start, c.end)}
    assert owned == set(range(1, result.length - 1))
    for word in (*result.words, *result.chunks):
        assert prompt[word.start : word.end] == word.text
    for position, word in enumerate(result.words):
        if word not in result.overflow and result.tokens_in(word.start, word.end):
            assert set(result.tokens_of(position)) <= set(range(1, result.length - 1))


def test_spans_point_into_the_original_text(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("  A  Chihuahua,\n on\u00a0CAFE\u0301 ")
    read = [prompt.text[start:end] for start, end in prompt.spans]
    assert read[:7] == ["", "A", "Chi", "hua", "hua", ",", "on"]
    assert read[7:11] == ["CA", "F", "E", "E"]  # a token for each byte
    assert set(read[11:]) == {""}


def texts(prompt: Prompt) -> list[str]:
    return [word.text for word in prompt.words]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a cat, on the mat.", ["a", "cat", "on", "the", "mat"]),
        ("red,blue well-lit (cat)", ["red", "blue", "well", "lit", "cat"]),
        ("the cat's mat 'on' it’s", ["the", "cat's", "mat", "on", "it’s"]),
        ("a cat & a 🐱 , c++", ["a", "cat", "&", "a", "🐱", ",", "c++"]),
        ("  हिन्दी\tcafe\u0301 ", ["हिन्दी", "cafe\u0301"]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_words(text: str, words: list[str], tokenizer: Tokenizer) -> None:
    assert texts(tokenizer.encode(text)) == words


@pytest.mark.parametrize(
    ("text", "selector", "tokens"),
    [
        ("a cat on the mat", "cat", (2,)),
        ("a cat on the mat", "CAT!", (2,)),
        ("a cat on the mat", 4, (5,)),
        ("a Cat, on the cat", "cat", (2, 6)),
        ("a Cat, on the cat", "cat#1", (2,)),
        ("a Cat, on the cat", "cat#2", (6,)),
        ("a (cat) on", "cat", (3,)),
        ("a chihuahua on a mat", "chihuahua", (2, 3, 4)),
        ("a chihuahua on a mat", "mat", (7,)),
        ("a  red   carpet, the carpet", "red carpet", (2, 3)),
        ("a red, carpet", "Red-Carpet", (2, 4)),
        ("red carpet red carpet", "red carpet#2", (3, 4)),
        ("red , carpet on", "red carpet", (1, 3)),
        ("cat cat cat", "cat cat", (1, 2, 3)),
        ("cat cat cat", "cat cat#2", (2, 3)),
        ("the cat’s mat", "cat's", (2, 3, 4, 5, 6)),
        ("a 🐱 on", "🐱", (2, 3, 4, 5)),
        ("cat , mat", ",", (2,)),
        ("un CAFE\u0301", "caf\u00e9", (3, 4, 5, 6)),
        ("cats on", "cats", (1, 2, 3)),
        ("a <|endoftext|> cat", "cat", (3,)),
    ],
)
def test_tokens_of(text: str, selector: str | int, tokens: tuple, tokenizer: Tokenizer) -> None:
    assert tokenizer.encode(text).tokens_of(selector) == tokens


def test_a_prompt_has_what_tokens_of_finds(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode("a red cat and a cat")
    for selector in ("cat", "red cat", "cat#2", 2, "Cat,"):
        assert prompt.has(selector)
    for selector in ("dog", "cat red", "cat#3", 9, "", "re"):
        assert not prompt.has(selector)
    assert not tokenizer.encode("").has("cat")


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("dog", "no 'dog'; its words are 'a', 'cat', 'on', 'the', 'mat'"),
        ("ca", "no 'ca'"),
        ("cat the", "no 'cat the'"),
        ("cat#2", "no place 2 for 'cat'; it stands there 1 times"),
        ("cat#0", "no place 0"),
        ("", "no ''"),
        (",", "no ','"),
        (5, "position 5; it has 5 words"),
        (-1, "position -1"),
        (True, "position True"),
        (None, "None is no word"),
        (1.0, "1.0 is no word"),
    ],
)
def test_a_word_that_is_not_there_is_refused(selector, words, tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=words) as caught:
        tokenizer.encode("a cat, on the mat").tokens_of(selector)
    assert str(caught.value).endswith(".")


def test_error_sentences_stay_short(tokenizer: Tokenizer) -> None:
    prompt = tokenizer.encode(" ".join(f"w{i}" for i in range(1500)))
    for selector in ("x" * 5000, "dog"):
        with pytest.raises(PromptError, match="and 1470 more") as caught:
            prompt.tokens_of(selector)
        assert len(str(caught.value)) < 500
    with pytest.raises(PromptError, match="its words are none"):
        tokenizer.encode("").tokens_of("cat")


def test_what_is_beyond_the_window_is_reported_and_refused(folders: dict[str, Path]) -> None:
    tokenizer = Tokenizer.load(folders["legacy"], window=6)
    fits = tokenizer.encode("cat on the mat")
    assert fits.overflow == ()
    assert fits.notice == ""
    assert fits.tokens_of("mat") == (4,)
    long = tokenizer.encode("cat on the mat, with cat")
    assert [word.text for word in long.overflow] == ["with", "cat"]
    assert (long.length, long.needed) == (6, 9)
    assert long.notice == (
        "The prompt has 9 tokens and the model reads 6, so it does not see 'with', 'cat'; "
        "shorten the prompt."
    )
    assert long.tokens_of("mat") == (4,)
    assert long.tokens_of("cat#1") == (1,)
    for selector in ("with", "cat", "cat#2", "mat with", 4):
        with pytest.raises(PromptError, match="beyond the 6 tokens"):
            long.tokens_of(selector)
    split = tokenizer.encode("cat on chihuahua")
    assert [word.text for word in split.overflow] == ["chihuahua"]
    with pytest.raises(PromptError, match="'chihuahua' is beyond"):
        split.tokens_of("chihuahua")


def test_unusable_prompts_are_refused(tokenizer: Tokenizer) -> None:
    for prompt in (None, b"cat", ["cat"], 3):
        with pytest.raises(PromptError, match="give a string"):
            tokenizer.encode(prompt)  # pyright: ignore[reportArgumentType]
    for prompt in ("a\0cat", "\x1b[31m", "a\x7f", "a\u0085b", "a\ud800"):
        with pytest.raises(PromptError, match="control character U\\+"):
            tokenizer.encode(prompt)
    start = time.perf_counter()
    with pytest.raises(PromptError, match="1000000 characters; give at most 10000"):
        tokenizer.encode("a" * 1_000_000)
    assert time.perf_counter() - start < 0.1
    assert tokenizer.encode("a" * 10_000).needed == 10_002


def test_the_ids_cannot_be_written_to(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="read-only"):
        tokenizer.encode("a cat").ids[0] = 1


def test_special_ids(folders: dict[str, Path]) -> None:
    vocab, _ = vocabulary()
    legacy, pad = Tokenizer.load(folders["legacy"]), Tokenizer.load(str(folders["map"]))
    assert (legacy.bos, legacy.eos) == (vocab["<|startoftext|>"], vocab["<|endoftext|>"])
    assert (legacy.pad, pad.pad) == (legacy.eos, vocab["!"])
    empty = pad.encode("")
    assert empty.ids.tolist() == [pad.bos, pad.eos, *[pad.pad] * 75]
    assert empty.words == ()


def broken(path: Path, name: str, content: str | None) -> Path:
    folder = write_legacy(path)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    return folder


VOCAB = {"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}
CLIP = {"type": "BPE", "end_of_word_suffix": "</w>", "vocab": VOCAB, "merges": []}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", None),
        ("tokenizer_config.json", "{"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", "{}"),
        ("tokenizer_config.json", '{"model_max_length": 1e30}'),
        ("tokenizer_config.json", '{"model_max_length": 2}'),
        ("tokenizer_config.json", '{"model_max_length": 77, "pad_token": "[PAD]"}'),
        ("tokenizer_config.json", '{"model_max_length": 77, "pad_token": {"x": 1}}'),
        ("tokenizer_config.json", '{"model_max_length": 77, "pad_token": 7}'),
        ("tokenizer_config.json", '{"model_max_length": 77, "added_tokens_decoder": [1]}'),
        ("vocab.json", None),
        ("vocab.json", "no"),
        ("merges.txt", None),
        ("merges.txt", "#version: 0.2\nq zz\n"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[" * 100_000),
        ("tokenizer.json", '{"model": 3}'),
        ("tokenizer.json", json.dumps({"model": CLIP | {"type": "Unigram"}})),
        ("tokenizer.json", json.dumps({"model": CLIP | {"end_of_word_suffix": ""}})),
        ("tokenizer.json", json.dumps({"model": CLIP | {"merges": ["a b"]}})),
        ("tokenizer.json", json.dumps({"model": CLIP | {"merges": ["abc"]}})),
        ("tokenizer.json", json.dumps({"model": CLIP | {"vocab": {"a": 0}}})),
    ],
)
def test_broken_folders_are_refused(name: str, content: str | None, tmp_path: Path) -> None:
    folder = broken(tmp_path / "t", name, content)
    with pytest.raises(ModelError, match=str(tmp_path)):
        Tokenizer.load(folder)
