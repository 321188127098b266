"""Marks outlive the process that left them, until the piece has its row."""

from pathlib import Path

from scumble_bench.work.beginnings import Beginnings
from scumble_bench.work.pieces import Piece

ONE, OTHER = Piece("one", {}), Piece("other", {})


def test_what_was_begun_is_counted_until_it_is_finished(tmp_path: Path):
    Beginnings(tmp_path).clear([ONE, OTHER])
    # Each by another process.
    assert [Beginnings(tmp_path).begin(ONE) for _ in range(3)] == [0, 1, 2]
    assert Beginnings(tmp_path).begin(OTHER) == 0
    Beginnings(tmp_path).end(ONE)
    assert Beginnings(tmp_path).begin(ONE) == 0
    assert Beginnings(tmp_path).begin(OTHER) == 1


def test_what_an_earlier_run_began_does_not_count(tmp_path: Path):
    marks = Beginnings(tmp_path)
    marks.clear([ONE, OTHER])
    marks.begin(ONE)
    marks.begin(OTHER)
    marks.clear([ONE])
    assert (marks.begin(ONE), marks.begin(OTHER)) == (0, 1)
