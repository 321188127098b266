"""The baselines' rows: what is asked of an editor, what is measured, and what the file holds."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scumble.masks import mask_to_latent
from scumble.options import check_options
from scumble.plugins import options_of
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.baselines import BASELINES, Baseline, edited, main
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import draw_cases
from scumble_bench.rooms.methods.rows import filled

SHOWN = np.full((128, 128, 3), 90, np.uint8)
MASK = np.zeros((128, 128), bool)
MASK[16:48, 32:80] = True
CASE: Any = SimpleNamespace(
    image=SHOWN, source="a green sofa", target="a blue sofa", noun="sofa", word="blue", mask=MASK,
    box=(32, 16, 80, 48),
)  # fmt: skip


class Asked:
    """Stands for an editor; notes what it was asked, and gives a mask if it is told to."""

    def __init__(self, mask: np.ndarray | None = None) -> None:
        self.mask = mask
        self.given: dict[str, Any] = {}

    def edit(self, image: Any, **given: Any) -> Any:
        self.given = given
        masks = {} if self.mask is None else {"": self.mask}
        return SimpleNamespace(
            source=image, image=image + 1, masks=masks, row_count=7, gradient_count=0
        )


def test_no_two_rows_have_a_name_and_every_option_is_one():
    assert len({row.name for row in BASELINES}) == len(BASELINES)
    for row in BASELINES:
        check_options(options_of(row.method), filled(row.options, CASE), row.method)


def test_what_an_editor_is_asked():
    editor: Any = Asked()
    row = Baseline("n", "ledits_pp", {"words": ["{word}", "{noun}"]}, asked={"source": ""})
    made, found = edited(editor, row, CASE, 9)
    assert (made.rows, made.gradients, found) == (7, 0, {})
    assert np.array_equal(made.after, SHOWN + 1)
    assert editor.given == {
        "source": "", "target": "a blue sofa", "method": "ledits_pp", "mask": None, "steps": 9,
        "options": {"words": ["blue", "sofa"]},
    }  # fmt: skip
    edited(editor, Baseline("n", "diffedit", masked=True), CASE, 9)
    assert editor.given["mask"] is MASK
    assert editor.given["source"] == "a green sofa"


def test_a_mask_is_compared_with_the_true_one():
    true = mask_to_latent(MASK, (16, 16))
    half = true.astype(np.float32)
    half[:4] = 0  # two of its four rows
    for mask, wanted in ((true.astype(np.float32), 1.0), (half, 0.5)):
        editor: Any = Asked(mask)
        assert edited(editor, BASELINES[0], CASE, 9)[1] == {"mask_iou": wanted}


@pytest.mark.thorough
def test_rows_are_measured_and_written(tmp_path: Path):
    out, sheets = tmp_path / "out.json", tmp_path / "sheets"
    names = ["SDEdit", "Prompt-to-Prompt, DiffEdit's mask"]
    asked = ["--out", str(out), "--sheets", str(sheets), "--edits", "2", "--steps", "3"]
    assert main([*asked, "--threads", "1", "--rows", *names]) == 0
    report = json.loads(out.read_text())
    first, second = report["rows"]
    assert [first["name"], second["name"]] == names
    assert second["asked"] == {"masking": "diffedit"}
    assert (first["mean"]["rows"], first["edits"], report["steps"]) == (4, 2, 3)
    assert "mask_iou" not in first["mean"]
    assert 0 < second["mean"]["mask_iou"] < 1
    assert second["mean"]["rows"] > 23  # of which 20 are the mask's
    seeds = [case.seed for case in draw_cases("colour", 2, Judge.load(CHECKPOINT / "judge")).cases]
    assert report["cases"]["seeds"] == " ".join(map(str, seeds))
    assert report["provenance"]["weights_sha256"]["rooms"]
    drawn = sorted(path.name for path in sheets.iterdir())
    assert drawn == ["Prompt-to-Prompt-DiffEdit's-mask.png", "SDEdit.png", "source.png"]
