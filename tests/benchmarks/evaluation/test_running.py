"""Where a job runs; a killed one goes on, and loses and repeats nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.running import made_with, run_job, what_is_there
from scumble_bench.evaluation.shards import shard_of
from scumble_bench.work.pieces import Job, Piece

SLOW = """
import sys, time
from pathlib import Path

class Worker:
    def __init__(self, settings):
        self.log = Path(settings["log"])
    def __call__(self, piece):
        with self.log.open("a") as log:
            log.write(piece.key + "\\n")
        time.sleep(0.05)
        return {"square": piece.payload["number"] ** 2}
    def close(self): ...

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from scumble_bench.evaluation.running import run_job
    from scumble_bench.work.pieces import Job, Piece
    pieces = [Piece(f"p{n}", {"number": n}) for n in range(40)]
    run_job(Job(pieces, "slow_worker:Worker", Path(sys.argv[2]), {"log": sys.argv[3]}))
"""


class Squares:
    """Does pieces at once."""

    def __init__(self, settings: Mapping[str, Any]) -> None: ...

    def __call__(self, piece: Piece) -> Mapping[str, Any]:
        return {"square": piece.payload["number"] ** 2}

    def close(self) -> None: ...


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setitem(sys.modules, "squares_of_a_test", sys.modules[__name__])
    pieces = [Piece(f"p{n}", {"number": n}) for n in range(7)]
    return Job(pieces, "squares_of_a_test:Squares", tmp_path / "out", {"a": 1})


def test_rows_come_in_the_order_of_the_pieces(squares: Job):
    assert [row["square"] for row in run_job(squares)] == [n**2 for n in range(7)]


def test_shares_make_the_whole(squares: Job):
    for share in (2, 1, 3):
        run_job(Job(shard_of(squares.pieces, share, 3), squares.worker, squares.folder, {"a": 1}))
    assert [row["square"] for row in what_is_there(squares)] == [n**2 for n in range(7)]


def test_what_is_there_runs_nothing(squares: Job):
    with pytest.raises(OptionError, match="holds no row of this evaluation"):
        what_is_there(squares)
    assert not squares.folder.exists()
    run_job(Job(shard_of(squares.pieces, 1, 2), squares.worker, squares.folder, squares.settings))
    assert [row["key"] for row in what_is_there(squares)] == ["p0", "p2", "p4", "p6"]
    other = Job(squares.pieces, squares.worker, squares.folder, {"a": 2})
    with pytest.raises(OptionError, match=r"other settings \(a was 1 and is 2\)"):
        what_is_there(other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"runner": "dask"}, "--runner is 'dask'; write local or ray"),
        ({"workers": 2}, "--workers and --gpus-per-worker are for --runner ray"),
        ({"gpus": 0.5}, "--workers and --gpus-per-worker are for --runner ray"),
    ],
)
def test_what_has_no_effect_is_refused(squares: Job, given: dict[str, Any], said: str):
    with pytest.raises(OptionError, match=said):
        run_job(squares, **given)


def test_rows_depend_on_weights_and_versions():
    found = made_with({"model": "rooms", "threads": 1})
    assert set(found["weights_sha256"]) == {"rooms"}
    assert {"python", "scumble", "torchmetrics"} <= set(found["versions"])


@pytest.mark.thorough
def test_a_killed_run_goes_on_with_nothing_lost_or_done_twice(tmp_path: Path):
    (tmp_path / "slow_worker.py").write_text(SLOW)
    out, log = tmp_path / "out", tmp_path / "log"
    command = [sys.executable, str(tmp_path / "slow_worker.py"), str(tmp_path), str(out), str(log)]
    killed = subprocess.Popen(command, start_new_session=True)
    # Some are done, and some are not.
    deadline = time.monotonic() + 60
    while not log.exists() or len(log.read_text().split()) < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    begun = log.read_text().split()
    assert 8 <= len(begun) < 40
    kept = {path.name: path.read_bytes() for path in (out / "rows").glob("p*.json")}
    assert len(kept) >= len(begun) - 1, "what was finished is there"
    subprocess.run(command, check=True)
    every = log.read_text().split()
    again = [key for key in set(every) if every.count(key) > 1]
    assert set(again) <= {begun[-1]}, "only what was being done is done again"
    found = {path.name: path.read_bytes() for path in (out / "rows").glob("p*.json")}
    assert len(found) == 40
    assert all(found[name] == data for name, data in kept.items())
    squares = [json.loads(found[f"p{n}.json"])["row"]["square"] for n in range(40)]
    assert squares == [n**2 for n in range(40)]
