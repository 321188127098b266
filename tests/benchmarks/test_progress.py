import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from scumble_bench.rooms import progress
from scumble_bench.rooms.progress import Clock, Reporter, RunState, thin


class Time:
    """Stands for the module `time`; only `now` moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    stands = Time()
    monkeypatch.setattr(progress, "time", stands)
    return stands


# A program of its own: a signal that goes astray would end the tests with it.
SIGNALLED = """
import os, sys
from scumble_bench.rooms.progress import Clock, RunState
clock = Clock(RunState(600, 0, 1), minutes=10)
clock.catch_signals()
before = clock.call_left()
os.kill(os.getpid(), int(sys.argv[1]))
print(before > 500, clock.call_left(), flush=True)
os.kill(os.getpid(), int(sys.argv[1]))
print("still here", flush=True)
"""


def test_a_saved_state_is_read_as_it_was(tmp_path: Path):
    state = RunState(600, 3, 24, spent=12.5, calls=2, done=["vae"])
    state.figures["vae"] = {"steps": 7}
    state.curves["vae"] = [[1, 0.5, 0.25]]
    path = tmp_path / "state.json"
    state.save(path)
    assert RunState.load(path) == state
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "state.json"
    state = RunState(600, 3, 24)
    state.save(path)
    state.figures["vae"] = object()
    with pytest.raises(TypeError):
        state.save(path)
    assert RunState.load(path) == RunState(600, 3, 24)


def test_a_clock_counts_the_call_and_the_run(time: Time):
    clock = Clock(RunState(600, 0, 1, spent=100), minutes=2)
    assert (clock.here(), clock.elapsed(), clock.call_left(), clock.run_left()) == (
        0, 100, 120, 500,
    )  # fmt: skip
    time.now += 130
    assert (clock.here(), clock.elapsed(), clock.call_left(), clock.run_left()) == (
        130, 230, -10, 370,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_time_and_a_second_one_ends_the_program(number: signal.Signals):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, str(int(number))],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.split() == ["True", "0.0"]
    assert done.returncode == -number


def test_a_reporter_speaks_every_ten_seconds(time: Time):
    said = StringIO()
    asked: list[float] = []

    def text() -> str:
        asked.append(time.now)
        return f"step {len(asked)}"

    with Reporter(Console(file=said, width=80), "vae") as reporter:
        for _ in range(6):
            reporter.show(0.25, text)
            time.now += 4
    assert asked == [1000, 1012]
    assert said.getvalue().splitlines() == ["vae  25% step 1", "vae  25% step 2"]


def test_a_curve_is_thinned_but_keeps_its_ends():
    curve = [[float(n)] for n in range(101)]
    thin(curve)
    assert len(curve) == 51
    assert curve[0] == [0]
    assert curve[-1] == [100]
