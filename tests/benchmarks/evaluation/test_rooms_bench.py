"""The rooms benchmark's job and files."""

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scumble_bench.evaluation.rooms_bench import (
    AskedRooms,
    drawn_for,
    files_of,
    job_of,
    summary_of,
)
from scumble_bench.rooms.methods.cases import CaseSet
from scumble_bench.rooms.methods.rows import Row

ROWS = (
    Row("one", "colour", "masactrl"),
    Row("two", "colour", "sdedit"),
    Row("three", "layout", None),
)


@pytest.fixture
def asked(tmp_path: Path) -> AskedRooms:
    cases: Any = tuple(SimpleNamespace(seed=5 + number) for number in range(2))
    sets = {"colour": CaseSet(cases, 9, 1), "layout": CaseSet(cases, 9, 1)}
    return AskedRooms(tmp_path / "out", ROWS, sets)  # pyright: ignore[reportArgumentType]


def done(pieces: Sequence[Any]) -> list[dict[str, Any]]:
    values = {"success": 1.0, "psnr": 30.0, "rows": 9.0, "gradients": 0.0}
    return [{"key": piece.key, "values": values, "engine": "torch"} for piece in pieces]


def test_a_piece_for_each_row_and_edit_says_where_its_plugins_come_from(asked: AskedRooms):
    job = job_of(asked)
    assert len(job.pieces) == 6
    origins = job.pieces[0].payload["origins"]
    assert list(origins) == ["masactrl", "direct"]
    assert list(job.pieces[-1].payload["origins"]) == ["direct"]
    assert json.loads(json.dumps(job.settings)) == job.settings
    assert job.settings["steps"] == 20


def test_the_summary_has_a_row_each_and_points_of_whole_rows(asked: AskedRooms):
    job = job_of(asked)
    summary = summary_of(asked, job, done(job.pieces[:3]))
    assert [(row["name"], row["edits"], row["missing"]) for row in summary["rows"]] == [
        ("one", 2, 0),
        ("two", 1, 1),
        ("three", 0, 2),
    ]
    assert [point["label"] for point in summary["points"]] == ["one"]
    assert summary["cases"]["colour"] == "5 6"


def test_the_files_hold_a_table_a_task_and_the_plot(asked: AskedRooms):
    job = job_of(asked)
    summary = summary_of(asked, job, done(job.pieces))
    files = files_of(summary)
    assert set(files) == {"summary.json", "table.md", "pareto.png"}
    assert files["pareto.png"].startswith(b"\x89PNG")
    text = files["table.md"].decode()
    assert text.index("## colour") < text.index("| one | 2 | 100 % |") < text.index("## layout")
    assert set(files_of(summary, drawn=False)) == {"summary.json", "table.md"}


@pytest.mark.thorough
def test_cases_are_drawn_for_the_kinds_that_rows_take():
    found = drawn_for([Row("a", "repaint", None), Row("b", "colour", "sdedit")], 1)
    assert list(found) == ["colour", "layout"]
    assert all(len(one.cases) == 1 for one in found.values())
