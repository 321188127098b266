"""Entries: brackets, words, and messages that say which entry is wrong."""

import re
from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.entries import KINDS, Entry, checked_entry, require_ids, stripped


def made(**fields: Any) -> Entry:
    given: dict[str, Any] = {
        "id": "000000000007",
        "kind": "6",
        "source": "a [red] cat",
        "target": "a [blue] cat",
        "words": ["cat", "cat"],
        "runs": [3, 2],
        "read": lambda: np.zeros((1, 1, 3), np.uint8),
    }
    return checked_entry("file.json", **(given | fields))


def test_brackets_are_stripped_wherever_they_are():
    assert stripped("a [[red] cat] on [a] mat") == "a red cat on a mat"
    found = made()
    assert (found.source, found.target) == ("a red cat", "a blue cat")


@pytest.mark.parametrize(
    ("words", "pair"),
    [([], None), (["a", "b"], ("a", "b")), (["a", "b", "c"], ("a", "b"))],
)
def test_the_first_two_words_count(words: list[str], pair: tuple[str, str] | None):
    assert made(words=words).words == pair


def test_the_mask_is_without_its_border():
    mask = made().mask
    assert mask.shape == (512, 512)
    assert np.flatnonzero(mask).tolist() == [3, 4]


def test_there_are_ten_types():
    assert list(KINDS) == [str(number) for number in range(10)]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "10", "its type is '10'"),
        ("kind", 6, "its type is 6"),
        ("source", None, "its source prompt is None"),
        ("target", "[]", "its target prompt is '[]'"),
        ("words", ["cat"], "its blended word is 'cat' alone"),
        ("runs", [1, "2"], "its mask has '2'"),
        ("runs", [1, True], "its mask has True"),
        ("runs", [1, 2.5], "its mask has 2.5"),
        ("runs", [1], "its mask cannot be read: it has 1 numbers"),
        ("runs", [-1, 4], "its mask cannot be read: it has -1"),
    ],
)
def test_a_wrong_entry_is_named(field: str, value: object, said: str):
    wanted = re.escape(f"'file.json', entry '000000000007': {said}")
    with pytest.raises(OptionError, match=wanted):
        made(**{field: value})


def test_ids_differ_and_there_are_some():
    require_ids("file.json", [made(), made(id="8")])
    with pytest.raises(OptionError, match="entry '000000000007': another entry has the same id"):
        require_ids("file.json", [made(), made(id="8"), made()])
    with pytest.raises(OptionError, match=r"'file\.json' holds no entry"):
        require_ids("file.json", [])
