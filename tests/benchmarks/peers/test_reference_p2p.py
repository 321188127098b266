"""The reference way does the same edits as Scumble, at the rows that its model has."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scumble import Editor
from scumble.alignment import replace_matrix
from scumble_bench.demo_edits import EDITS, PICTURES
from scumble_bench.peers import map_controller
from scumble_bench.peers.reference_p2p import ReferenceP2P

CAT = "a red cat on a sofa"
STEPS = 4
AGREE = 1e-3
SMALL = {"size": (32, 32)}

EDITS_OF_CAT: dict[str, tuple[str, Mapping[str, Any]]] = {
    "replace": ("a purple dog on a sofa", {}),
    "refine": ("a fluffy red cat on a carpet", {"reweight": {"fluffy": 3}}),
    "words": (
        "a blue cat on a sofa",
        {"cross_window": {"default": 0.5, "blue": (0.25, 0.75)}, "self_window": (0.25, 1.0)},
    ),
    "blend": ("a red dog on a sofa", {"blend_words": ("cat", "dog"), "blend_threshold": 0.97}),
}


def relative(found: np.ndarray, wanted: np.ndarray) -> float:
    """The distance of two latents over the size of one."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("given", [True, False], ids=["picture", "generated"])
@pytest.mark.parametrize("name", EDITS_OF_CAT)
def test_it_makes_the_edits_that_scumble_makes(
    editor: Editor, reference: ReferenceP2P, picture: np.ndarray, name: str, given: bool
):
    target, options = EDITS_OF_CAT[name]
    asked: dict[str, Any] = {
        "source": CAT,
        "target": target,
        "options": options,
        "steps": STEPS,
        **SMALL,
    }
    image = picture if given else None
    run, done = editor.edit(image, **asked), reference.edit(image, **asked)
    for shown in (0, 1):
        assert relative(run.latents[shown], done.latents[shown]) <= AGREE
    assert relative(done.latents[1], done.latents[0]) > 10 * AGREE, "the edit did nothing"
    pixels = np.asarray(run.image).astype(int) - done.pixels[1]
    assert np.abs(pixels).max() <= 1


@pytest.mark.parametrize("dropped", ["mapper", "equalizer", "self_steps"])
def test_a_reference_that_lacks_a_part_does_not_agree(
    editor: Editor, reference: ReferenceP2P, dropped: str, monkeypatch: pytest.MonkeyPatch
):
    """So that agreement says something of each part."""
    asked: dict[str, Any] = {
        "source": CAT,
        "target": "a purple dog on a sofa",
        "options": {"reweight": {"dog": 3}},
        "steps": STEPS,
        **SMALL,
    }
    made = map_controller.MapEdit.of

    def without(*given: Any) -> Any:
        edit = made(*given)
        changed = {
            "mapper": lambda: torch.eye(40),
            "equalizer": lambda: torch.ones(40),
            "self_steps": lambda: (False,) * STEPS,
        }
        object.__setattr__(edit, dropped, changed[dropped]())
        return edit

    monkeypatch.setattr(map_controller.MapEdit, "of", without)
    wanted = editor.edit(None, **asked).latents[1]
    assert relative(reference.edit(None, **asked).latents[1], wanted) > 2 * AGREE


def test_the_mapper_of_the_test_above_is_not_the_identity(editor: Editor):
    encode = editor.session.tokenizer.encode
    matrix = replace_matrix(encode(CAT), encode("a purple dog on a sofa"))
    assert not np.array_equal(matrix, np.eye(40))


def test_every_row_is_run_for_every_edit(reference: ReferenceP2P, picture: np.ndarray):
    asked: dict[str, Any] = {
        "source": CAT,
        "target": "a red dog on a sofa",
        "steps": STEPS,
        **SMALL,
    }
    for _ in range(2):
        rows = reference.edit(picture, **asked).rows
        assert rows == {"inversion": STEPS, "offsets": 4 * STEPS, "edit": 4 * STEPS}
    assert reference.edit(None, **asked).rows == {"edit": 4 * STEPS}


def test_no_control_is_left_behind(reference: ReferenceP2P, picture: np.ndarray):
    asked: dict[str, Any] = {
        "source": CAT,
        "target": "a blue dog on a sofa",
        "steps": STEPS,
        **SMALL,
    }
    first, second = (reference.edit(picture, **asked).latents for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_it_runs_in_bf16(tiny: Path, reference: ReferenceP2P, picture: np.ndarray):
    asked: dict[str, Any] = {
        "source": CAT,
        "target": "a red dog on a sofa",
        "steps": STEPS,
        **SMALL,
    }
    half = ReferenceP2P.load(tiny, "bf16").edit(picture, **asked)
    assert half.latents.dtype == np.float32
    error = relative(half.latents[1], reference.edit(picture, **asked).latents[1])
    assert 1e-5 < error < 0.3


def test_threads_are_torchs(tiny: Path):
    ReferenceP2P.load(tiny, threads=1)
    assert torch.get_num_threads() == 1


@pytest.mark.thorough
@pytest.mark.parametrize("given", [True, False], ids=["picture", "generated"])
@pytest.mark.parametrize("edit", EDITS[:4:3], ids=lambda edit: f"{edit.picture}-{edit.kind}")
def test_on_the_demo_checkpoint_it_agrees_over_fifty_steps(edit: Any, given: bool):
    (picture,) = (p for p in PICTURES if p.name == edit.picture)
    asked: dict[str, Any] = {
        "source": picture.prompt,
        "target": edit.target,
        "options": edit.options,
        "steps": 50,
    }
    image = picture.path if given else None
    done = ReferenceP2P.load("rooms").edit(image, **asked)
    assert sum(done.rows.values()) == (450 if given else 200)
    with Editor.load("rooms", device="cpu") as editor:
        assert relative(editor.edit(image, **asked).latents[1], done.latents[1]) <= AGREE
