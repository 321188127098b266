"""MAG-Edit the reference way; `test_peer.py` has its plain form."""

from pathlib import Path
from typing import Any

import pytest

from scumble import Editor
from scumble.arrays import Array
from scumble.errors import OptionError
from scumble_bench.peers import reference_mag_edit
from scumble_bench.peers.peer import PEERS, agreement
from scumble_bench.peers.reference_mag_edit import ReferenceMagEdit

pytestmark = pytest.mark.thorough

(ENTRY,) = (entry for entry in PEERS if entry.name == "reference mag_edit")
OPTIONS: dict[str, Any] = {"words": ("blue",), "iterations": 2, "scale": 200.0}
FORMS: dict[str, dict[str, Any]] = {
    "space": {**OPTIONS, "ratio": "space"},
    "windows": {**OPTIONS, "guide_window": 0.75, "cross_window": 0.5, "self_window": 0.25},
    "blend": {**OPTIONS, "blend_start": 0.25, "self_stride": 1},
    "two words": {**OPTIONS, "words": ("blue", "cat")},
}


@pytest.fixture(scope="module")
def mag(tiny: Path) -> ReferenceMagEdit:
    return ReferenceMagEdit.load(tiny, "fp64")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_scumbles(
    mag: ReferenceMagEdit, exact: Editor, picture: Array, work: Any, form: str
):
    asked = work("mag_edit", options=FORMS[form])
    done = mag.run(asked, picture)
    assert agreement(done.latents, ENTRY.ours(exact, asked, picture)) <= 1e-9
    guided = 3 if form == "windows" else 2
    assert done.gradients == 2 * guided
    assert done.rows["updates"] == 4 * guided


@pytest.mark.parametrize(
    "fault",
    [{"iterations": 1}, {"guide_window": 0.25}, {"cross_window": 0.5}, {"self_window": 0.0},
     {"blend_start": 1.0}, {"ratio": "space"}],
    ids=lambda fault: next(iter(fault)),
)  # fmt: skip
def test_a_reference_with_another_option_does_not_agree(
    mag: ReferenceMagEdit, exact: Editor, picture: Array, work: Any, fault: dict[str, Any]
):
    wrong = work("mag_edit", options={**OPTIONS, **fault})
    wanted = ENTRY.ours(exact, work("mag_edit"), picture)
    assert agreement(mag.run(wrong, picture).latents, wanted) > 2 * ENTRY.tolerance


def test_a_reference_with_another_loss_does_not_agree(
    mag: ReferenceMagEdit, exact: Editor, picture: Array, work: Any, monkeypatch: pytest.MonkeyPatch
):
    loss = reference_mag_edit.token_loss
    monkeypatch.setattr(
        reference_mag_edit, "token_loss", lambda maps, word, inside: loss(maps, word, 1 - inside)
    )
    wanted = ENTRY.ours(exact, work("mag_edit"), picture)
    assert agreement(mag.run(work("mag_edit"), picture).latents, wanted) > 2 * ENTRY.tolerance


@pytest.mark.parametrize(
    "asked",
    [
        {"options": {**OPTIONS, "ratio": "sequence"}},
        {"options": {**OPTIONS, "suppress": {"blue": "red"}}},
        {"mask": None},
        {"inversion": "ddim"},
    ],
)
def test_what_it_cannot_do_is_refused(
    mag: ReferenceMagEdit, picture: Array, work: Any, asked: dict[str, Any]
):
    with pytest.raises(OptionError):
        mag.run(work("mag_edit", **asked), picture)


def test_a_generated_picture_has_no_mask(mag: ReferenceMagEdit, work: Any):
    with pytest.raises(OptionError, match="inside a mask"):
        mag.run(work("mag_edit"))
