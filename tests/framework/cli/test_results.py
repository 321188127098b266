import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scumble.cli.flags import Output
from scumble.cli.results import tell

RUN: Any = SimpleNamespace(
    notes=("Fitted.",),
    rows={"inversion": 2, "plain": 3},
    row_count=5,
    timings={"sampling": 1.26, "text": 0.001},
    recipe={"operation": "edit"},
)
MAPS = {"cat": {"heat": Path("c.png")}, "dog": Path("d.png")}


def test_lines(capsys: pytest.CaptureFixture[str]):
    tell(Output(), RUN, 2.0, [Path("a.png")], strip=None, maps=MAPS, psnr="3 dB")
    said = capsys.readouterr()
    assert said.err == "note: Fitted.\n"
    assert said.out.splitlines() == [
        "wrote    a.png",
        "maps     c.png",
        "maps     d.png",
        "psnr     3 dB",
        "rows     5 (inversion 2, plain 3)",
        "seconds  2.0 (sampling 1.3)",
    ]


def test_json(capsys: pytest.CaptureFixture[str]):
    tell(Output(as_json=True), RUN, 2.0, [Path("a.png")], strip=None, maps=MAPS)
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out) == {
        "images": ["a.png"],
        "strip": None,
        "maps": {"cat": {"heat": "c.png"}, "dog": "d.png"},
        "rows": {"inversion": 2, "plain": 3},
        "row_count": 5,
        "seconds": 2.0,
        "timings": {"sampling": 1.26, "text": 0.001},
        "notes": ["Fitted."],
        "recipe": {"operation": "edit"},
    }


def test_quiet(capsys: pytest.CaptureFixture[str]):
    tell(Output(quiet=True), RUN, 2.0, [Path("a.png")])
    said = capsys.readouterr()
    assert said.out + said.err == ""
