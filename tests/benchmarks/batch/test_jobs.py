"""Pieces of edits: what changes an edit changes its piece, and who shares a picture."""

from pathlib import Path
from typing import Any

import pytest

from scumble_bench.batch.edits import check_lines
from scumble_bench.batch.jobs import WORKER, job_of
from scumble_bench.batch.lines import Line
from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import open_shelf


def job(lists: Path, out: Path, *fields: dict[str, Any]) -> Job:
    lines = [Line(number, one) for number, one in enumerate(fields, 1)]
    edits, problems = check_lines(lines, lists, out, lambda _: None)
    assert problems == []
    return job_of(edits, out, {"model": "m", "threads": 1}, "5d5d")


def test_a_job_has_a_piece_an_edit_and_says_what_rows_depend_on(
    lists: Path, tmp_path: Path, cat: dict[str, Any]
):
    made = job(lists, tmp_path / "out", {**cat, "out": "one"}, {**cat, "out": "two"})
    assert [piece.key for piece in made.pieces] == ["one", "two"]
    assert (made.worker, made.folder) == (WORKER, (tmp_path / "out/work").resolve())
    assert made.settings == {
        "out": str((tmp_path / "out").resolve()),
        "model": {"model": "m", "threads": 1},
        "weights": "5d5d",
    }


def shares(*groups: str | None) -> list[int | None]:
    """Number groups in the order in which they come."""
    known = list(dict.fromkeys(group for group in groups if group is not None))
    return [None if group is None else known.index(group) for group in groups]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, [0, 0, 0, 0]),
        ({"target": "a white cat", "method": "masactrl", "mask": "left.png"}, [0, 0, 0, 0]),
        # Two of a kind share with each other.
        ({"picture": "dog.png"}, [0, 1, 0, 1]),
        ({"source": "a cat"}, [0, 1, 0, 1]),
        ({"steps": 4}, [0, 1, 0, 1]),
        ({"guidance": 2}, [0, 1, 0, 1]),
        ({"negative": "a dog"}, [0, 1, 0, 1]),
        ({"seed": 1}, [0, 1, 0, 1]),
        ({"size": [64, 128]}, [0, 1, 0, 1]),
        ({"fit": "pad"}, [0, 1, 0, 1]),
        ({"inversion": "ddim"}, [0, 1, 0, 1]),
        ({"inversion": "proximal", "inversion_options": {"threshold": "hard"}}, [0, 1, 0, 1]),
        # Nothing is inverted, or by the method itself, or not ahead.
        ({"picture": None}, [0, None, 0, None]),
        ({"source": ""}, [0, None, 0, None]),
        ({"method": "edit_friendly"}, [0, None, 0, None]),
    ],
)
def test_edits_share_what_is_inverted_in_the_same_way(
    lists: Path,
    tmp_path: Path,
    cat: dict[str, Any],
    other: dict[str, Any],
    expected: list[int | None],
):
    made = job(lists, tmp_path, cat, {**cat, **other}, cat, {**cat, **other})
    assert shares(*(piece.group for piece in made.pieces)) == expected
    prepared = [piece.payload["prepare"] is not None for piece in made.pieces]
    assert prepared == [group is not None for group in expected]


def test_an_edit_that_shares_with_none_is_not_prepared(
    lists: Path, tmp_path: Path, cat: dict[str, Any]
):
    made = job(lists, tmp_path, cat, {**cat, "picture": "dog.png"})
    assert [(piece.group, piece.payload["prepare"]) for piece in made.pieces] == [(None, None)] * 2


def test_a_changed_edit_is_done_again_and_the_others_are_not(
    lists: Path, tmp_path: Path, cat: dict[str, Any]
):
    first = job(lists, tmp_path, {**cat, "out": "a"}, {**cat, "out": "b"}, {**cat, "out": "c"})
    shelf = open_shelf(first)
    for piece in first.pieces:
        shelf.put(piece, {})
    again = job(
        lists, tmp_path,
        # Its place in the list is nothing to an edit.
        {**cat, "out": "c"}, {**cat, "out": "a"}, {**cat, "out": "b", "target": "a white cat"},
    )  # fmt: skip
    assert [piece.key for piece in open_shelf(again).pending(again.pieces)] == ["b"]


def test_an_edit_of_a_changed_file_is_done_again(lists: Path, tmp_path: Path, cat: dict[str, Any]):
    fields = {**cat, "mask": "left.png", "out": "a"}
    before = job(lists, tmp_path, fields)
    for name, by in (("left.png", "right.png"), ("cat.png", "dog.png")):
        kept = (lists / name).read_bytes()
        (lists / name).write_bytes((lists / by).read_bytes())
        assert job(lists, tmp_path, fields).pieces != before.pieces
        (lists / name).write_bytes(kept)
    assert job(lists, tmp_path, fields).pieces == before.pieces
