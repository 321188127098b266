"""The command measures every row once, goes on where it was stopped, and fails for no claim."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError, ScumbleError
from scumble_bench.rooms.methods import command, worker
from scumble_bench.rooms.methods.cases import CaseSet
from scumble_bench.rooms.methods.rows import ROWS, Row, cases_of
from scumble_bench.rooms.methods.scoring import Made

TASKS = ("--tasks", "layout", "repaint")
ROWS_ASKED = [row for row in ROWS if row.task in TASKS]


class Loaded:
    """Stands for an editor of an engine."""

    def __init__(self, engine: str) -> None:
        self.session = SimpleNamespace(provenance=lambda: {"engine": engine})


class Engines:
    """Stands for the editors; what was loaded is noted."""

    asked: list[tuple[Any, ...]]

    def __init__(self, *given: Any) -> None:
        self.asked.append(given)

    def for_row(self, row: Row) -> Loaded:
        return Loaded("torch" if row.gradients else "onnxruntime")

    def close(self) -> None: ...


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """Replaces models and edits; lists (row, number of the case, steps) of what was made."""
    edits: list[tuple[str, int, int]] = []

    def make(editor: Any, row: Row, case: Any, number: int, steps: int) -> Made:
        assert case == (cases_of(row.task), 5 + number)
        edits.append((row.name, number, steps))
        return Made(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8), 80, 0)

    def score(task: str, case: Any, result: Made, judge: Any, editor: Any) -> dict[str, float]:
        # Re-painting is made to fare worse than a new seed.
        psnr = 30.0 if edits[-1][0] == "a new seed" else 20.0
        return {"success": 1.0, "psnr": psnr, "box_iou": 0.5, "rows": result.rows}

    def draw(kind: str, count: int, judge: Any) -> CaseSet:
        cases: Any = tuple(SimpleNamespace(seed=5 + number) for number in range(count))
        return CaseSet(cases, 40, 3)

    Engines.asked = []
    monkeypatch.setattr(command, "draw_cases", draw)
    monkeypatch.setattr(worker, "Engines", Engines)
    monkeypatch.setattr(worker, "case_of", lambda kind, seed: (kind, seed))
    monkeypatch.setattr(worker, "make", make)
    monkeypatch.setattr(worker, "score", score)
    return edits


def test_every_row_makes_every_edit(made: list[tuple[str, int, int]], tmp_path: Path):
    out = tmp_path / "methods.json"
    assert command.main(["--out", str(out), "--edits", "3", "--steps", "4", *TASKS]) == 0
    assert made == [(row.name, number, 4) for row in ROWS_ASKED for number in range(3)]
    report = json.loads(out.read_text())
    assert [row["name"] for row in report["rows"]] == [row.name for row in ROWS_ASKED]
    assert {row["edits"] for row in report["rows"]} == {3}
    assert {row["engine"] for row in report["rows"]} == {"onnxruntime"}
    assert report["cases"] == {"layout": {"looked_at": 40, "misjudged": 3, "seeds": "5 6 7"}}
    assert report["provenance"]["weights_sha256"].keys() == {"rooms"}
    verdicts = {claim["row"]: claim["verdict"] for claim in report["claims"]}
    assert verdicts == {"layout swap": "not shown", "re-painting": "contrary"}
    assert [path.name for path in tmp_path.iterdir()] == ["methods.json"]
    assert Engines.asked == [("rooms", None, None)]


def test_its_rows_have_what_the_committed_file_has(
    made: list[tuple[str, int, int]], tmp_path: Path
):
    out = tmp_path / "methods.json"
    command.main(["--out", str(out), "--edits", "2", "--steps", "4", *TASKS])
    committed = json.loads(command.RESULTS.read_text())
    report = json.loads(out.read_text())
    assert report.keys() == committed.keys()
    assert report["rows"][0].keys() == committed["rows"][0].keys()


def test_a_stopped_run_goes_on_where_it_was(
    made: list[tuple[str, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "methods.json"
    arguments = ["--out", str(out), "--edits", "3", "--steps", "4", *TASKS]
    full = worker.make

    def stopped(editor: Any, row: Row, case: Any, number: int, steps: int) -> Made:
        if (row.name, number) == ("layout swap", 1):
            raise KeyboardInterrupt
        return full(editor, row, case, number, steps)

    monkeypatch.setattr(worker, "make", stopped)
    with pytest.raises(KeyboardInterrupt):
        command.main(arguments)
    assert not out.exists()
    monkeypatch.setattr(worker, "make", full)
    made.clear()
    assert command.main(arguments) == 0
    assert made[0] == ("layout swap", 1, 4), "what came before was done"
    assert len(made) == 3 * len(ROWS_ASKED) - 4
    made.clear()
    assert command.main(arguments) == 0
    assert len(made) == 3 * len(ROWS_ASKED), "what was finished is measured anew"


def test_a_stopped_run_is_not_gone_on_with_under_other_settings(
    made: list[tuple[str, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "methods.json"

    def broken(*given: Any) -> Made:
        raise KeyboardInterrupt

    full = worker.make
    monkeypatch.setattr(worker, "make", broken)
    with pytest.raises(KeyboardInterrupt):
        command.main(["--out", str(out), "--edits", "3", "--steps", "4", *TASKS])
    monkeypatch.setattr(worker, "make", full)
    with pytest.raises(OptionError, match="steps was 4 and is 5"):
        command.main(["--out", str(out), "--edits", "3", "--steps", "5", *TASKS])
    assert made == []


def test_an_edit_that_fails_ends_without_a_file(
    made: list[tuple[str, int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    full = worker.score

    def failing(task: Any, case: Any, *rest: Any) -> dict[str, float]:
        if task == "layout" and case[1] == 6:
            raise ValueError("the judge is ill")
        return full(task, case, *rest)

    monkeypatch.setattr(worker, "score", failing)
    out = tmp_path / "methods.json"
    failed = sum(row.task == "layout" for row in ROWS_ASKED)
    with pytest.raises(ScumbleError, match=rf"^{failed} of .* the judge is ill"):
        command.main(["--out", str(out), "--edits", "3", "--steps", "4", *TASKS])
    assert not out.exists()


def test_a_file_is_shown_without_measuring(
    made: list[tuple[str, int, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "methods.json"
    command.main(["--out", str(out), "--edits", "3", "--steps", "4", *TASKS])
    made.clear()
    capsys.readouterr()
    assert command.main(["--out", str(out), "--show"]) == 0
    assert made == []
    shown = capsys.readouterr().out
    assert "| plain sampling | 100 % | 0.50 | 20.00 | 80 |\n" in shown
    assert "| **contrary** |" in shown


ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(("gates", "methods", "code"), [(0, 0, 0), (1, 0, 2), (0, 1, 2), (1, 1, 2)])
def test_methods_are_measured_where_a_gate_is_missed_too(
    tmp_path: Path, gates: int, methods: int, code: int
):
    """And `make quality` fails for either."""
    make = shutil.which("make")
    assert make, "make is needed"
    shutil.copy(ROOT / "Makefile", tmp_path)
    stands = tmp_path / ".venv/bin/python"
    stands.parent.mkdir(parents=True)
    stands.write_text(
        f"#!/bin/sh\necho $2 >> ran\n"
        f"case $2 in *quality) exit {gates};; *methods) exit {methods};; esac\n"
    )
    stands.chmod(0o755)
    command = [make, "--no-print-directory", "-o", ".venv/.dev", "quality"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == code
    ran = (tmp_path / "ran").read_text().split()
    assert ran == ["scumble_bench.rooms.quality", "scumble_bench.rooms.methods"]
