"""The same job on Ray Data. Ray itself runs in processes of its own, which takes a while."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import EngineError, OptionError
from scumble_bench.work import on_ray
from scumble_bench.work.beginnings import Beginnings
from scumble_bench.work.on_ray import Actors, Doing, run
from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import open_shelf

MakeJob = Callable[..., Job]
Begun = Callable[[], list[str]]


class TestActors:
    @pytest.mark.parametrize("gpus", [0, 0.25, 1, 2.0])
    def test_shares_and_whole_ones(self, gpus: float):
        assert Actors(gpus=gpus).gpus == gpus

    @pytest.mark.parametrize("gpus", [-0.5, 1.5])
    def test_what_ray_does_not_give(self, gpus: float):
        with pytest.raises(OptionError, match=f"not {gpus}; give 0.5, 1 or 2"):
            Actors(gpus=gpus)

    @pytest.mark.parametrize(("workers", "threads"), [(0, 1), (1, 0), (-1, 1)])
    def test_nobody(self, workers: int, threads: int):
        with pytest.raises(OptionError, match="give one of each at least"):
            Actors(workers, threads)

    @pytest.mark.parametrize(
        ("there", "gpus", "room"),
        [(1, 0.5, 2), (1, 0.6, 1), (2, 0.6, 2), (2, 0.3, 6), (4, 2, 2), (5, 2, 2), (0, 0.5, 0)],
    )
    def test_what_fits_on_the_gpus(self, there: int, gpus: float, room: int):
        """A share lies on one GPU: two thirds of two GPUs do not make a third worker."""
        require: Any = vars(on_ray)["_require_gpus"]
        if room:
            require(there, Actors(room, gpus=gpus))
        with pytest.raises(OptionError, match=f"there is room for {room}"):
            require(there, Actors(room + 1, gpus=gpus))

    def test_without_gpus_any_number_fits(self):
        require: Any = vars(on_ray)["_require_gpus"]
        require(0, Actors(99))


@pytest.fixture
def doing(toy: MakeJob) -> Callable[..., tuple[Job, Callable[[], list[Any]]]]:
    """Make an actor in this process, and something that gives it a whole job as one group."""

    def make(*payloads: dict[str, Any]) -> tuple[Job, Callable[[], list[Any]]]:
        job = toy(*payloads)
        open_shelf(job)
        Beginnings(job.folder).clear(job.pieces)
        group = [{"key": piece.key, "payload": piece.payload} for piece in job.pieces]

        def act() -> list[Any]:
            actor = Doing(job.worker, job.settings, str(job.folder))
            rows = actor({"pieces": [json.dumps(group)]})["row"]
            return [json.loads(row) for row in rows]

        return job, act

    return make


class TestDoing:
    def test_it_does_a_group_in_order(self, doing: Any, begun: Begun):
        job, act = doing({}, {"raises": True}, {})
        rows = act()
        assert [row.get("twice", row.get("failure")) for row in rows] == [
            0,
            "ValueError: told to raise",
            4,
        ]
        assert rows == open_shelf(job).rows(job.pieces)
        assert begun() == ["p0", "p1", "p2"]

    def test_what_an_actor_finished_before_it_died_is_not_done_again(
        self, doing: Any, begun: Begun
    ):
        _, act = doing({}, {"interrupted": True}, {})
        with pytest.raises(KeyboardInterrupt):
            act()
        assert [row["key"] for row in act()] == ["p0", "p1", "p2"]
        assert begun() == ["p0", "p1", "p1", "p2"]

    def test_a_piece_that_ends_its_process_three_times_has_failed(self, doing: Any, begun: Begun):
        job, act = doing({}, {}, {})
        for _ in range(3):
            Beginnings(job.folder).begin(job.pieces[1])
        rows = act()
        assert rows[1] == {
            "key": "p1",
            "failure": "the process that did it ended, 3 times in a row",
        }
        assert begun() == ["p0", "p2"]
        # It is not held against the next run.
        assert Beginnings(job.folder).begin(job.pieces[1]) == 0

    def test_twice_may_be_bad_luck(self, doing: Any):
        job, act = doing({})
        for _ in range(2):
            Beginnings(job.folder).begin(job.pieces[0])
        assert act()[0]["twice"] == 0


def test_without_ray_the_extra_is_named(toy: MakeJob, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"needs ray.*: pip install 'scumble\[ray\]'\."):
        run(toy({}))


def test_usage_statistics_are_off_before_ray_is_imported(
    toy: MakeJob, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    found: list[str | None] = []

    def stop(name: str) -> None:
        found.append(os.environ.get("RAY_USAGE_STATS_ENABLED"))
        raise ImportError(name=name)

    monkeypatch.setattr(on_ray, "import_module", stop)
    with pytest.raises(EngineError):
        run(toy({}))
    assert found == ["0"]


def test_nothing_pending_needs_no_ray(toy: MakeJob, monkeypatch: pytest.MonkeyPatch):
    job = toy({})
    open_shelf(job).put(job.pieces[0], {"twice": 0})
    monkeypatch.setitem(sys.modules, "ray", None)
    told: list[Any] = []
    assert run(job, lambda *one: told.append(one)) == [{"key": "p0", "twice": 0}]
    assert told == [(1, 1, None)]


def test_rows_that_do_not_arrive_here_are_missed(toy: MakeJob, monkeypatch: pytest.MonkeyPatch):
    """As on a cluster whose machines share no disk."""
    monkeypatch.setattr(on_ray, "_streamed", lambda *_: iter([{"key": "p0", "twice": 0}]))
    monkeypatch.setattr(on_ray, "_started", lambda _: nullcontext())
    with pytest.raises(OptionError, match=r"1 rows more .* a disk that every machine"):
        run(toy({}))


PROGRAM = """
import json, sys
from pathlib import Path
from scumble_bench.work.on_ray import Actors, run
from scumble_bench.work.pieces import Job, Piece
folder, settings, payloads = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
pieces = [Piece(f"p{n}", {"n": n, **one}, one.get("group")) for n, one in enumerate(payloads)]
job = Job(pieces, "toy_worker:Toy", folder / "job", {"log": str(folder / "log"), **settings})
told = []
rows = run(job, lambda done, of, row: told.append([done, row and row["key"]]), Actors(2, 1))
print(json.dumps([rows, told]))
"""


def on_two_actors(
    folder: Path, *payloads: dict[str, Any], **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a job on Ray in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), json.dumps(settings), json.dumps(payloads)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.slow
def test_actors_that_are_killed_cost_nothing_but_time(tmp_path: Path, begun: Begun):
    """Two are killed by SIGKILL in the middle of a piece, one of them at each attempt."""
    payloads: list[dict[str, Any]] = [
        {"seconds": 2},
        *({"group": "a"}, {"group": "b"}, {"group": "a", "dies_once": True}, {"group": "a"}),
        {"raises": True},
        {"dies": True},
    ]
    done = on_two_actors(tmp_path, *payloads)
    assert done.returncode == 0, done.stderr
    rows, told = json.loads(done.stdout.splitlines()[-1])
    assert [row["key"] for row in rows] == [f"p{n}" for n in range(7)]
    assert {row["key"]: row["failure"] for row in rows if "failure" in row} == {
        "p5": "ValueError: told to raise",
        "p6": "the process that did it ended, 3 times in a row",
    }
    assert [row["twice"] for row in rows if "twice" in row] == [0, 2, 4, 6, 8]
    assert len({row["process"] for row in rows if "process" in row}) >= 2
    # In the order of groups, though the first was the slowest.
    order = ["p0", "p1", "p3", "p4", "p2", "p5", "p6"]
    assert told == [[0, None], *([n, key] for n, key in enumerate(order, 1))]
    # What was finished is not begun again; nor is what was not at hand when an actor died.
    counts = {key: begun().count(key) for key in order}
    assert counts == {**dict.fromkeys(order, 1), "p3": 2, "p6": 3}


@pytest.mark.slow
def test_a_worker_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    done = on_two_actors(tmp_path, {}, broken=True)
    assert done.returncode == 1
    said = "EngineError: a worker on Ray broke: RuntimeError: there is no engine here"
    assert done.stderr.rstrip().endswith(said)
