"""Rows on disk: whole, once, in order, and never those of another job."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import OptionError
from scumble_bench.work.pieces import Job, Piece
from scumble_bench.work.shelf import Shelf, open_shelf

MakeJob = Callable[..., Job]


@pytest.fixture
def job(toy: MakeJob) -> Job:
    return toy({}, {}, {}, model="rooms", sizes=(1, 2))


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder / "rows"))


class TestRows:
    def test_they_come_back_in_the_order_of_the_job(self, job: Job):
        shelf = open_shelf(job)
        for n in (2, 0, 1):
            shelf.put(job.pieces[n], {"value": n / 3})
        rows = open_shelf(job).rows(job.pieces)
        assert rows == [{"key": f"p{n}", "value": n / 3} for n in range(3)]
        assert open_shelf(job).rows(job.pieces[::-1]) == rows[::-1]

    def test_one_that_is_done_twice_counts_once_and_as_last_done(self, job: Job):
        shelf = open_shelf(job)
        shelf.put(job.pieces[0], {"value": 1})
        shelf.put(job.pieces[0], {"value": 2})
        assert shelf.rows(job.pieces) == [{"key": "p0", "value": 2}]
        assert names(job.folder) == ["p0.json"]

    def test_what_is_put_is_told_as_it_will_be_read(self, job: Job):
        shelf = open_shelf(job)
        told = shelf.put(job.pieces[0], {"pair": (1, 2)})
        assert told == shelf.get(job.pieces[0]) == {"key": "p0", "pair": [1, 2]}

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
    def test_what_is_no_json_is_refused_and_leaves_nothing(self, job: Job, value: Any):
        shelf = open_shelf(job)
        with pytest.raises((TypeError, ValueError)):
            shelf.put(job.pieces[0], {"value": value})
        assert names(job.folder) == []

    def test_missing_and_failed_ones_are_pending(self, job: Job):
        shelf = open_shelf(job)
        shelf.put(job.pieces[1], {"value": 1})
        shelf.put(job.pieces[2], {"failure": "why"})
        assert [piece.key for piece in shelf.pending(job.pieces)] == ["p0", "p2"]
        assert [row["key"] for row in shelf.rows(job.pieces)] == ["p1", "p2"]

    def test_a_piece_that_asks_for_something_else_now_is_pending(self, job: Job):
        shelf = open_shelf(job)
        shelf.put(job.pieces[0], {"value": 1})
        other = Piece("p0", {**job.pieces[0].payload, "n": 7})
        assert shelf.pending([other]) == [other]
        assert shelf.rows([other]) == []

    def test_a_row_can_be_forgotten(self, job: Job):
        shelf = open_shelf(job)
        shelf.put(job.pieces[0], {"value": 1})
        shelf.forget(job.pieces[0])
        shelf.forget(job.pieces[1])  # was never there
        assert shelf.rows(job.pieces) == []


class TestCrashes:
    def test_a_killed_write_is_no_row_and_is_cleaned_up_later(
        self, job: Job, monkeypatch: pytest.MonkeyPatch
    ):
        """As kill -9 leaves it: the whole row is written, and has no name yet."""
        shelf = open_shelf(job)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", lambda *_: None)
            shelf.put(job.pieces[0], {"value": 1})
        (part,) = (job.folder / "rows").iterdir()
        assert json.loads(part.read_bytes())["row"]["value"] == 1
        assert shelf.rows(job.pieces) == []
        # Another process may be at it: it is left alone until nobody can be.
        assert [piece.key for piece in open_shelf(job).pending(job.pieces)] == ["p0", "p1", "p2"]
        assert part.exists()
        long_ago = time.time() - 601
        os.utime(part, (long_ago, long_ago))
        assert open_shelf(job).rows(job.pieces) == []
        assert not part.exists()

    @pytest.mark.parametrize("damaged", [b"", b'{"format": 1, "row"', b"[]", b"7", b"\xff\xfe"])
    def test_a_damaged_row_is_pending(self, job: Job, damaged: bytes):
        shelf = open_shelf(job)
        shelf.put(job.pieces[0], {"value": 1})
        (job.folder / "rows" / "p0.json").write_bytes(damaged)
        assert len(shelf.pending(job.pieces)) == 3
        shelf.put(job.pieces[0], {"value": 1})
        assert len(shelf.pending(job.pieces)) == 2


class TestSettings:
    def test_the_same_ones_are_taken_up(self, job: Job):
        open_shelf(job).put(job.pieces[0], {"value": 1})
        again = replace(job, settings=json.loads(json.dumps(job.settings)))
        assert len(open_shelf(again).rows(job.pieces)) == 1

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"model": "other"}, r"\(model was 'rooms' and is 'other'\)"),
            ({"more": 1}, r"\(more was None and is 1\)"),
        ],
    )
    def test_others_are_refused_and_told(self, job: Job, change: dict[str, Any], said: str):
        open_shelf(job).put(job.pieces[0], {"value": 1})
        other = replace(job, settings={**job.settings, **change})
        with pytest.raises(OptionError, match=f"made with other settings {said}; name another"):
            open_shelf(other)
        assert len(open_shelf(job).rows(job.pieces)) == 1

    def test_another_worker_is_refused(self, job: Job):
        open_shelf(job)
        with pytest.raises(OptionError, match=r"worker was 'toy_worker:Toy' and is 'other:One'"):
            open_shelf(replace(job, worker="other:One"))

    @pytest.mark.parametrize("damaged", [b"", b"[]", b'{"settings": 3}'])
    def test_what_is_damaged_is_refused(self, job: Job, damaged: bytes):
        open_shelf(job)
        (job.folder / "job.json").write_bytes(damaged)
        with pytest.raises(OptionError, match=r"\(its job.json is damaged\)"):
            open_shelf(job)

    def test_of_another_format_is_refused(self, job: Job):
        open_shelf(job)
        path = job.folder / "job.json"
        path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
        with pytest.raises(OptionError, match=r"\(format was 2 and is 1\)"):
            open_shelf(job)


class TestKeys:
    @pytest.mark.parametrize("key", ["", ".", "..", ".part", "a/b", "a b", "é", "a" * 201, "a\n"])
    def test_what_could_leave_the_folder_or_hide_is_refused(self, job: Job, key: str):
        with pytest.raises(OptionError, match="cannot name a row"):
            open_shelf(replace(job, pieces=[Piece(key, {})]))

    @pytest.mark.parametrize(("one", "other"), [("cat", "cat"), ("Cat", "cat"), ("cat", "Cat")])
    def test_two_that_some_disks_take_for_one_are_refused(self, job: Job, one: str, other: str):
        with pytest.raises(OptionError, match=f"two pieces are named '{other}'"):
            open_shelf(replace(job, pieces=[Piece(one, {}), Piece(other, {})]))

    def test_odd_ones_are_fine(self, job: Job):
        odd = [Piece(key, {}) for key in ("000_1-a.b", "p0.json", "_", "-", "a" * 200)]
        shelf = open_shelf(replace(job, pieces=odd))
        for piece in odd:
            shelf.put(piece, {})
        assert [row["key"] for row in shelf.rows(odd)] == [piece.key for piece in odd]


def test_a_folder_that_cannot_be_is_one_sentence(job: Job):
    job.folder.write_text("in the way")
    with pytest.raises(OptionError, match=r"cannot hold rows \(.*\); name a folder"):
        open_shelf(job)


def test_a_shelf_needs_no_job_to_write(job: Job):
    """As an actor has it, which is told the folder only."""
    open_shelf(job)
    Shelf(job.folder).put(job.pieces[0], {"value": 1})
    assert len(open_shelf(job).rows(job.pieces)) == 1
