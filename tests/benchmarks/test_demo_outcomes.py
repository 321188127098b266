"""What is told of an edit is what the judge saw, and what a mask says is outside."""

import re
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from scumble_bench.demo_edits import MethodEdit
from scumble_bench.demo_outcomes import SIZE, Outcome, of_method, table_of
from scumble_bench.rooms.dataset import NOUNS
from scumble_bench.rooms.judge import Verdict

BOX = (32, 40, 96, 72)


def edit(pose: str | None = None, box: tuple[int, int, int, int] | None = None) -> MethodEdit:
    return MethodEdit("method", "a red dog", "dog", "red", None, "red", pose, box)


def verdict(colour: str, pose: str, box: tuple[int, int, int, int], seen: float = 1) -> Verdict:
    segments = np.zeros((64, 64), np.uint8)
    left, top, right, bottom = (edge // 2 for edge in box)
    segments[top:bottom, left:right] = 1 + NOUNS.index("dog")
    return Verdict({"dog": seen}, {"dog": colour}, {"dog": pose}, segments)


def told(of: MethodEdit, *verdicts: Verdict) -> Outcome:
    picture = Image.fromarray(np.zeros((SIZE, SIZE, 3), np.uint8))
    run: Any = SimpleNamespace(
        source=picture,
        image=picture,
        row_count=12,
        gradient_count=3,
        provenance={"engine": "q"},
    )
    judge: Any = lambda images: list(verdicts)  # noqa: E731
    nobody: Any = None
    return of_method(of, run, judge, nobody, 1.5)


@pytest.mark.parametrize(
    ("colour", "pose", "seen", "asked", "changed"),
    [
        ("red", "lying", 1, True, "sitting blue dog -> lying red dog"),
        ("red", "sitting", 1, False, "sitting blue dog -> sitting red dog"),
        ("blue", "lying", 1, False, "sitting blue dog -> lying blue dog"),
        ("red", "lying", 0, False, "sitting blue dog -> no dog"),
    ],
)
def test_a_pose_is_asked_for_beside_the_colour(
    colour: str, pose: str, seen: float, asked: bool, changed: str
):
    before = verdict("blue", "sitting", BOX)
    found = told(edit(pose="lying"), before, verdict(colour, pose, BOX, seen))
    assert (found.as_asked, found.changed) == (asked, changed)
    assert (found.rows, found.gradients, found.seconds, found.engine) == (12, 3, 1.5, "q")


@pytest.mark.parametrize(
    ("box", "asked", "share"),
    [(BOX, True, "100%"), ((32, 40, 64, 72), True, "50%"), ((32, 40, 60, 72), False, "44%")],
)
def test_a_thing_in_its_box_shares_half_of_it(
    box: tuple[int, int, int, int], asked: bool, share: str
):
    found = told(edit(box=BOX), verdict("red", "lying", box), verdict("red", "lying", box))
    said = f"red dog ({share} in its box)"
    assert (found.as_asked, found.changed) == (asked, f"{said} -> {said}")


def test_the_table_has_a_line_for_every_outcome():
    rows = [
        Outcome("a.png", "swap", "t", "red cat -> red dog", asked, 31.26, 35.0, 90, 0, 2.34, "q")
        for asked in (True, False, None)
    ]
    rows.append(Outcome("", "noise", "t", "red cat", True, None, None, 90, 7, 2.34, "q"))
    shown = StringIO()
    Console(width=200, file=shown).print(table_of(rows))
    assert "(q)" in shown.getvalue()
    lines = [line for line in shown.getvalue().splitlines() if " red cat" in line]
    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert [cell[3] for cell in cells] == ["yes", "no", "-", "yes"]
    assert cells[0] == [
        "a", "swap", "red cat -> red dog", "yes", "31.3", "35.0", "90", "0", "2.3",
    ]  # fmt: skip
    assert cells[3] == ["generated", "noise", "red cat", "yes", "-", "-", "90", "7", "2.3"]
