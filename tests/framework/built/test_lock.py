import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scumble.built import lock as module
from scumble.built.lock import locked

HOLDER = """
import sys, time
from pathlib import Path
from scumble.built.lock import locked
with locked(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(60)
"""


def nobody() -> None:
    raise AssertionError("somebody was waited for")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_it_leaves_nothing_behind(path: Path):
    with locked(path, nobody) as trouble:
        assert trouble is None
        assert path.exists()
    assert not path.exists()


def test_one_at_a_time(path: Path):
    """Also among the threads of a process."""
    inside: list[int] = []
    most: list[int] = []
    waited: list[bool] = []

    def work() -> None:
        for _ in range(5):
            with locked(path, lambda: waited.append(True)) as trouble:
                assert trouble is None
                inside.append(1)
                most.append(len(inside))
                threading.Event().wait(0.005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 20
    assert max(most) == 1
    assert waited


def test_an_error_lets_go(path: Path):
    with pytest.raises(ZeroDivisionError), locked(path, nobody):
        raise ZeroDivisionError
    with locked(path, nobody) as trouble:
        assert trouble is None


def test_the_lock_of_a_killed_process_is_free(path: Path, holder: subprocess.Popen[str]):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists()
    with locked(path, nobody) as trouble:
        assert trouble is None
    assert not path.exists()


@pytest.mark.usefixtures("holder")
def test_patience_ends(path: Path):
    waited: list[bool] = []
    with locked(path, lambda: waited.append(True), patience=0.1) as trouble:
        assert trouble is not None
        assert "it is built here as well" in trouble
    assert waited == [True]
    assert path.exists()  # it is still the other's


def test_an_old_file_is_no_lock(path: Path):
    path.touch()
    with locked(path, nobody) as trouble:
        assert trouble is None


def test_a_file_that_is_taken_away_meanwhile(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who held the lock before removes the file between our opening and our locking it."""
    real = fcntl.flock
    taken: list[int] = []

    def slow(handle: int, how: int) -> None:
        if not taken:
            path.unlink()
        taken.append(handle)
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with locked(path, lambda: None) as trouble:
        assert trouble is None
        assert len(taken) == 2
        assert path.exists()
        with locked(path, lambda: None, patience=0.0) as trouble:
            assert trouble is not None


@pytest.mark.parametrize("name", ["open", "flock"])
def test_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """As on a network disk that has none."""

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(os if name == "open" else fcntl, name, fail)
    with locked(path, nobody) as trouble:
        assert trouble is not None
        assert "cannot be locked (No locks available)" in trouble


def test_a_link_is_not_followed(path: Path, tmp_path: Path):
    path.symlink_to("elsewhere")
    with locked(path, nobody) as trouble:
        assert trouble is not None
    assert not (tmp_path / "elsewhere").exists()


def test_a_platform_without(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module.sys, "platform", "win32")
    with locked(path, nobody) as trouble:
        assert trouble is None
        assert not path.exists()
