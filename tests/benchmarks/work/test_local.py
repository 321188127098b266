"""A job in one process: in order, once each, and taken up after whatever ended it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import OptionError
from scumble_bench.work.local import run
from scumble_bench.work.pieces import Job

MakeJob = Callable[..., Job]
Begun = Callable[[], list[str]]


def test_rows_come_in_order_and_are_told(toy: MakeJob, begun: Begun):
    told: list[Any] = []
    rows = run(toy({}, {}, {}), lambda *one: told.append(one))
    assert [(row["key"], row["twice"]) for row in rows] == [("p0", 0), ("p1", 2), ("p2", 4)]
    assert told == [(0, 3, None), *((n, 3, row) for n, row in enumerate(rows, 1))]
    assert begun() == ["p0", "p1", "p2", "closed"]


def test_groups_are_done_together_and_rows_stay_in_order(toy: MakeJob, begun: Begun):
    rows = run(toy({"group": "x"}, {}, {"group": "x"}))
    assert begun() == ["p0", "p2", "p1", "closed"]
    assert [row["key"] for row in rows] == ["p0", "p1", "p2"]


def test_what_is_done_is_not_done_again(toy: MakeJob, begun: Begun):
    first = run(toy({}, {}))
    told: list[Any] = []
    assert run(toy({}, {}), lambda *one: told.append(one)) == first
    # No worker is made for nothing.
    assert told == [(2, 2, None)]
    assert begun() == ["p0", "p1", "closed"]
    more = run(toy({}, {}, {}))
    assert more[:2] == first
    assert begun()[3:] == ["p2", "closed"]


def test_a_failure_is_a_row_and_is_tried_again(toy: MakeJob, begun: Begun):
    job = toy({}, {"raises": True}, {})
    rows = run(job)
    assert [row.get("failure") for row in rows] == [None, "ValueError: told to raise", None]
    assert run(job) == rows
    assert begun() == ["p0", "p1", "p2", "closed", "p1", "closed"]


def test_an_interrupt_leaves_what_is_done_and_the_next_run_goes_on(toy: MakeJob, begun: Begun):
    job = toy({}, {"interrupted": True}, {})
    with pytest.raises(KeyboardInterrupt):
        run(job)
    assert begun() == ["p0", "p1", "closed"]
    assert [row["key"] for row in run(job)] == ["p0", "p1", "p2"]
    assert begun() == ["p0", "p1", "closed", "p1", "p2", "closed"]


def test_other_settings_end_it_before_anything_is_done(toy: MakeJob, begun: Begun):
    run(toy({}))
    with pytest.raises(OptionError, match="made with other settings"):
        run(toy({}, {}, other=True))
    assert begun() == ["p0", "closed"]


def test_a_worker_that_cannot_be_made_ends_it(toy: MakeJob):
    job = toy({}, broken=True)
    with pytest.raises(RuntimeError, match="no engine"):
        run(job)
    assert list((job.folder / "rows").iterdir()) == []


PROGRAM = """
import json, sys
from pathlib import Path
from scumble_bench.work.local import run
from scumble_bench.work.pieces import Job, Piece
sys.path.insert(0, sys.argv[1])
folder = Path(sys.argv[2])
pieces = [Piece(f"p{n}", {"n": n, "dies_once": n % 2 == 1}) for n in range(6)]
rows = run(Job(pieces, "toy_worker:Toy", folder / "job", {"log": str(folder / "log")}))
print(json.dumps([row["key"] for row in rows]))
"""


@pytest.mark.thorough
def test_a_run_that_is_killed_again_and_again_loses_and_repeats_nothing(
    tmp_path: Path, begun: Begun
):
    """Each of three processes is killed by SIGKILL in the middle of a piece; the fourth ends."""
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path)]
    runs = [
        subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        for _ in range(4)
    ]
    assert [done.returncode for done in runs] == [-9, -9, -9, 0], runs[-1].stderr
    assert runs[-1].stdout.strip() == '["p0", "p1", "p2", "p3", "p4", "p5"]'
    # Only what was at hand when it was killed is begun twice.
    assert begun() == ["p0", "p1", "p1", "p2", "p3", "p3", "p4", "p5", "p5", "closed"]
