"""The made edits: ten types, true masks, prompts that say what differs."""

import re

import numpy as np
import pytest

from scumble_bench.evaluation.entries import KINDS, stripped
from scumble_bench.evaluation.made_edits import MadeEdit, made_edits
from scumble_bench.rooms import CHECKPOINT, world
from scumble_bench.rooms.dataset import collect_words, load_backend
from scumble_bench.rooms.tokenizer import WINDOW


@pytest.fixture(scope="module")
def edits() -> list[MadeEdit]:
    return made_edits()


def test_every_type_is_there_twice_with_a_room_of_its_own(edits: list[MadeEdit]):
    assert [edit.kind for edit in edits] == [kind for kind in KINDS for _ in range(2)]
    seeds = [edit.seed for edit in edits]
    assert len(set(seeds)) == 20
    assert min(seeds) >= world.HELD_OUT


def test_they_are_always_the_same(edits: list[MadeEdit]):
    again = made_edits()
    assert [(e.seed, e.source, e.target) for e in again] == [
        (e.seed, e.source, e.target) for e in edits
    ]
    assert all((a.before == b.before).all() for a, b in zip(again, edits, strict=True))


def test_masks_are_true(edits: list[MadeEdit]):
    """Outside nothing changes; inside of all but a style most of it does."""
    for edit in edits:
        differs = (edit.before != edit.after).any(axis=2)
        assert not (differs & ~edit.mask).any(), edit
        assert differs[edit.mask].mean() > 0.5, edit
        assert edit.mask.any()
    styles = [edit.mask.all() for edit in edits if edit.kind == "9"]
    assert styles == [True, True], "nothing is left that may stay"
    assert not any(edit.mask.all() for edit in edits if edit.kind != "9")


def test_prompts_differ_where_the_brackets_are(edits: list[MadeEdit]):
    for edit in edits:
        assert edit.source != edit.target
        outside = [re.sub(r"\[[^]]*\]", "", text) for text in (edit.source, edit.target)]
        said = [re.findall(r"\w+", text) for text in outside]
        apart = set(said[0]) ^ set(said[1])
        # An article goes with the word after it, and a list with what is in it.
        assert apart <= {"a", "an", "and"}, edit


def test_the_model_was_trained_on_every_word(edits: list[MadeEdit]):
    known = set(collect_words(scenes=200))
    backend = load_backend(CHECKPOINT / "tokenizer")
    for edit in edits:
        for text in (stripped(edit.source), stripped(edit.target)):
            assert set(re.findall(r"\w+", text)) <= known, text
            assert len(backend.encode(text).ids) <= WINDOW


def test_blended_words_are_in_the_prompts(edits: list[MadeEdit]):
    for edit in edits:
        if edit.words:
            old, new = edit.words.split()
            assert old in stripped(edit.source).split(" ") or f"{old}," in edit.source
            assert re.search(rf"\b{new}\b", stripped(edit.target))
    blended = {edit.kind for edit in edits if edit.words}
    assert blended == {"0", "1", "5", "6", "7", "8"}


@pytest.mark.parametrize(
    ("kind", "source", "target"),
    [("2", 0, 1), ("3", 1, 0)],
)
def test_adding_and_deleting_are_of_one_thing(
    edits: list[MadeEdit], kind: str, source: int, target: int
):
    for edit in (one for one in edits if one.kind == kind):
        counts = [text.count("[") for text in (edit.source, edit.target)]
        assert counts == [source, target]


def test_too_few_rooms_are_said():
    with pytest.raises(ValueError, match="1 rooms hold 1 edits of type 'random'"):
        made_edits(most=1)


def test_the_articles_are_right(edits: list[MadeEdit]):
    for edit in edits:
        for text in (stripped(edit.source), stripped(edit.target)):
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_pictures_are_of_the_world(edits: list[MadeEdit]):
    assert {edit.before.shape for edit in edits} == {(128, 128, 3)}
    assert {edit.before.dtype for edit in edits} == {np.dtype(np.uint8)}
