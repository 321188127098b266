"""The demo's data says what is true of its files."""

import numpy as np
import pytest

from scumble.host import Host
from scumble.images import load_picture
from scumble.masks import load_mask
from scumble.prompts import split_words
from scumble_bench.demo_edits import EDITS, FOLDER, METHOD_EDITS, PICTURES, DemoEdit, MethodEdit
from scumble_bench.rooms import world
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

SOURCES = {picture.name: picture for picture in PICTURES}


def words(prompt: str) -> list[str]:
    return [word.text for word in split_words(prompt)]


def test_there_are_three_pictures_with_an_edit_of_each_kind():
    assert len(SOURCES) == len(PICTURES) == 3
    kinds = {(edit.picture, edit.kind) for edit in EDITS}
    assert kinds == {(name, kind) for name in SOURCES for kind in ("swap", "refine", "reweight")}
    assert len(kinds) == len(EDITS), "two results would have one file name"


def test_every_file_in_the_folder_is_used():
    masks = {SOURCES[edit.picture].mask_of(edit.thing) for edit in EDITS}
    pictures = {picture.path for picture in PICTURES}
    for edit in METHOD_EDITS:
        if edit.picture is not None:
            masks.add(edit.picture.mask_of(edit.thing))
            pictures.add(edit.picture.path)
    assert {path for path in FOLDER.iterdir() if path.is_file()} == masks | pictures


def test_four_further_methods_make_an_edit_each():
    methods = sorted(edit.method for edit in METHOD_EDITS)
    assert methods == ["initial_noise", "mag_edit", "masactrl", "noise_blocks"]


@pytest.mark.parametrize("edit", METHOD_EDITS, ids=lambda edit: edit.method)
def test_an_edit_by_a_method_says_what_is_true(edit: MethodEdit):
    said = words(edit.target)
    assert edit.thing in words(edit.source)
    assert {edit.thing, edit.colour} <= set(said)
    assert edit.colour in world.COLOURS
    assert edit.pose is None or (edit.pose in world.POSES and edit.pose in said)
    Host([(edit.method, edit.options)])
    if edit.picture is None:
        assert edit.box is not None
        assert edit.options["layout"] == {edit.thing: edit.box}
        return
    inside = load_mask(edit.picture.mask_of(edit.thing), load_picture(edit.picture.path).size)
    assert 0.01 < float(np.mean(inside)) < 0.6, "the mask is not of one thing"


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit.picture}-{edit.kind}")
def test_an_edit_fits_its_picture(edit: DemoEdit):
    source = SOURCES[edit.picture]
    size = load_picture(source.path).size
    inside = load_mask(source.mask_of(edit.thing), size)
    assert 0.01 < float(np.mean(inside)) < 0.6, "the mask is not of one thing"
    assert edit.thing in words(source.prompt)
    assert edit.thing in world.NOUNS, "the judge does not know it"
    said = words(edit.target)
    if edit.becomes is not None:
        assert edit.becomes in world.NOUNS
        assert edit.becomes in said
        assert edit.thing not in said
    if edit.colour is not None:
        assert edit.colour in world.COLOURS
        assert edit.colour in said
    assert edit.label
    PromptToPromptOptions.model_validate(dict(edit.options))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: f"{edit.picture}-{edit.kind}")
def test_the_prompts_differ_as_the_kind_says(edit: DemoEdit):
    before, after = words(SOURCES[edit.picture].prompt), words(edit.target)
    if edit.kind == "swap":
        assert len(before) == len(after)
        assert before != after
    elif edit.kind == "refine":
        # Refinement aligns words instead of pairing them; it may add some.
        assert edit.options["mode"] == "refine"
        assert len(after) >= len(before)
        assert edit.thing in after
    else:
        assert before == after
        assert edit.options, "nothing is re-weighted"
