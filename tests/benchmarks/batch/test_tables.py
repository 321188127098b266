"""What came of a list, in its order."""

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import OptionError
from scumble.requests import EditRequest
from scumble_bench.batch.edits import Edit, File
from scumble_bench.batch.tables import CELLS, joined, write_tables

EDITS = [
    Edit(2, "b", EditRequest(source="a, cat", targets=("x", "y")), File(Path("/c.png"), "5d")),
    Edit(3, "a", EditRequest(source="a dog", targets=("z",), seed=4, method="masactrl")),
]
ROWS: list[dict[str, Any]] = [
    {"key": "b", "images": ["b.png", "b-2.png"], "rows": {"plain": 2}, "row_count": 2},
    {"key": "a", "failure": "it broke."},
]


def test_rows_say_what_was_asked_beside_what_came_of_it(tmp_path: Path):
    rows = joined(EDITS, ROWS)
    paths = write_tables(rows, tmp_path)
    assert [path.name for path in paths] == ["rows.jsonl", "rows.csv"]
    assert sorted(os.listdir(tmp_path)) == ["rows.csv", "rows.jsonl"]
    read = [json.loads(line) for line in paths[0].read_text().splitlines()]
    assert read == rows
    assert [(row["line"], row["key"]) for row in read] == [(2, "b"), (3, "a")]
    assert read[0]["rows"] == {"plain": 2}
    assert read[0]["picture"] == "/c.png"
    with paths[1].open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert tuple(cells[0]) == CELLS
    assert [row["source"] for row in cells] == ["a, cat", "a dog"]
    assert json.loads(cells[0]["targets"]) == ["x", "y"]
    assert (cells[0]["failure"], cells[1]["failure"]) == ("", "it broke.")
    assert (cells[1]["seed"], cells[1]["method"], cells[1]["picture"]) == ("4", "masactrl", "")


def test_a_row_that_is_missing_is_no_shift():
    with pytest.raises(ValueError, match="zip"):
        joined(EDITS, ROWS[:1])


def test_a_folder_that_is_gone(tmp_path: Path):
    with pytest.raises(OptionError, match=r"cannot be written to \(No such file"):
        write_tables([], tmp_path / "gone")
