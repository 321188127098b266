"""Keeps two processes from building the same: a saving, on which nothing depends.

The kernel lets go of the lock of a process that has died, so none is ever stale.
"""

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

__all__ = ["LOCK", "PATIENCE", "locked"]

LOCK = ".lock"
PATIENCE = 1800.0  # seconds; longer than the slowest build that was seen
SHORTEST, LONGEST = 0.01, 0.5  # seconds between two tries


@contextmanager
def locked(
    path: Path, waiting: Callable[[], None], patience: float = PATIENCE
) -> Generator[str | None]:
    """Hold the lock of a build, or do without it.

    Args:
        path: of the lock file, which is made, and taken away at the end.
        waiting: called once, if another process holds the lock.
        patience: seconds after which to go on regardless.

    Yields:
        None where the lock is held, else a sentence that says why not.
    """
    if sys.platform == "win32":
        yield None  # there two processes may build the same
        return
    handle, trouble = None, None
    try:
        handle = _take(path, waiting, time.monotonic() + patience)
        if handle is None:
            trouble = (
                f"another process has been building the same for {patience:.0f} seconds; "
                "it is built here as well."
            )
    except OSError as error:
        trouble = (
            f"'{path}' cannot be locked ({error.strerror}), so another process may build the same."
        )
    try:
        yield trouble
    finally:
        if handle is not None:
            with suppress(OSError):
                os.unlink(path)  # while it is held, so that it is no other's
            with suppress(OSError):
                os.close(handle)


def _take(path: Path, waiting: Callable[[], None], end: float) -> int | None:
    """Return a handle that holds the lock, or None if it is not free by then."""
    pause = SHORTEST
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_there(path, handle):
                return handle
        except BlockingIOError:
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        if time.monotonic() > end:
            return None
        if pause == SHORTEST:
            waiting()
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def _is_there(path: Path, handle: int) -> bool:
    """Return False if who held the lock before has taken the file away."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
