"""Workers by name, rows of what they do, and pieces that stay together."""

from collections.abc import Callable
from typing import Any

import pytest

from scumble.errors import ScumbleError
from scumble_bench.work.pieces import Job, Piece
from scumble_bench.work.shelf import open_shelf
from scumble_bench.work.workers import do_piece, grouped, make_worker

MakeJob = Callable[..., Job]


def test_a_worker_is_made_by_its_name(toy: MakeJob):
    job = toy({})
    worker = make_worker(job.worker, job.settings)
    assert worker(job.pieces[0])["twice"] == 0


def test_a_row_is_kept_before_it_is_told(toy: MakeJob):
    job = toy({}, {})
    shelf = open_shelf(job)
    worker = make_worker(job.worker, job.settings)
    row = do_piece(worker, job.pieces[1], shelf)
    assert (row["key"], row["twice"]) == ("p1", 2)
    assert open_shelf(job).rows(job.pieces) == [row]


class Gives:
    """Raises or returns what it was made with."""

    def __init__(self, what: Any) -> None:
        self._what = what

    def __call__(self, piece: Piece) -> Any:
        if isinstance(self._what, Exception):
            raise self._what
        return {"value": self._what}

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        (ValueError("told to\nraise"), "ValueError: told to raise"),
        (ScumbleError("this cannot be; do that."), "this cannot be; do that."),
        # A row that is no JSON is a failure, too.
        (object(), "TypeError: Object of type object is not JSON serializable"),
        (float("nan"), "ValueError: Out of range float values are not JSON compliant"),
    ],
)
def test_a_failure_is_a_row_with_its_cause_in_one_line(toy: MakeJob, what: Any, cause: str):
    job = toy({})
    shelf = open_shelf(job)
    row = do_piece(Gives(what), job.pieces[0], shelf)
    assert row["key"] == "p0"
    assert row["failure"].startswith(cause)
    assert "\n" not in row["failure"]
    assert shelf.rows(job.pieces) == [row]


def test_an_interrupt_is_no_failure(toy: MakeJob):
    job = toy({"interrupted": True})
    shelf = open_shelf(job)
    with pytest.raises(KeyboardInterrupt):
        do_piece(make_worker(job.worker, job.settings), job.pieces[0], shelf)
    assert shelf.rows(job.pieces) == []


def keys(groups: list[list[Piece]]) -> list[str]:
    return ["".join(piece.key for piece in group) for group in groups]


def test_groups_stay_together_in_the_order_in_which_they_begin():
    pieces = [Piece(key, {}, group) for key, group in zip("abcdefg", "xyx_yx_", strict=True)]
    pieces = [Piece(p.key, {}, None if p.group == "_" else p.group) for p in pieces]
    assert keys(grouped(pieces)) == ["acf", "be", "d", "g"]
    assert keys(grouped(pieces, 2)) == ["ac", "f", "be", "d", "g"]
    assert grouped([]) == []


def test_a_group_is_not_taken_for_a_key():
    pieces = [Piece("a", {}), Piece("b", {}, "a"), Piece("c", {}, "")]
    assert keys(grouped(pieces)) == ["a", "b", "c"]
