"""Many processes want the same engine at once; prints what they got, as JSON.

Run with an empty folder and `locks` or `no-locks`. In a process of its own, with one thread, so
that it may fork.
"""

import json
import multiprocessing
import sys
import time
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from runpy import run_path
from typing import Any

from scumble.built import BuiltCache, entry, lock, store
from scumble.built.shelf import QUARANTINE

STEPS: dict[str, Any] = run_path(str(Path(__file__).with_name("steps.py")))
PROCESSES = 16
ROUNDS = 50
SIZE = 200_000
entry.BLOCK = 8192  # many writes, for others to look in between
lock.LONGEST = 0.02


def tag(number: int) -> bytes:
    """Marks what was built for a round."""
    return f"round {number}".encode()


def run(rank: int, folder: Path, barrier: Any, results: Connection) -> None:
    """Ask for the engine of each round, at the same time as everybody else.

    Every fourth process only looks until it is there. In every fifth round the cache is cleared
    under them, and then all may have to build.
    """
    cache = BuiltCache(folder, 4 * SIZE)
    seen: list[tuple[int, bool, bool, bool, tuple[str, ...]]] = []
    for number in range(ROUNDS):
        key = STEPS["key"](variant=str(number))
        cleared = number % 5 == 4
        barrier.wait(60)
        if rank % 4 == 3 and not cleared:
            notes: list[str] = []
            end = time.monotonic() + 60
            data = None
            while data is None and time.monotonic() < end:
                data = cache.get(key, notes)
                time.sleep(0.0005)
            whole = data is not None and STEPS["is_whole"](data, tag(number))
            seen.append((number, False, True, whole, tuple(notes)))
            continue
        if rank == 0 and cleared:
            cache.clear()
        done = cache.get_or_build(key, lambda number=number: STEPS["payload"](tag(number), SIZE))
        whole = STEPS["is_whole"](done.data, tag(number))
        seen.append((number, done.built, done.cached, whole, done.notes))
    results.send(seen)


@contextmanager
def no_lock(*_: Any):
    """In place of the lock."""
    yield None


def main(folder: Path, locks: bool) -> dict[str, Any]:
    """Race, and put together what came of it."""
    if not locks:
        store.locked = no_lock
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PROCESSES)
    pipes = [context.Pipe(duplex=False) for _ in range(PROCESSES)]
    children = [
        context.Process(target=run, args=(rank, folder, barrier, results))
        for rank, (_, results) in enumerate(pipes)
    ]
    for child in children:
        child.start()
    for _, results in pipes:
        results.close()  # so that a child which died is the end of its pipe
    seen = [one for taken, _ in pipes for one in taken.recv()]
    for child in children:
        child.join()
    quiet = [one for one in seen if one[0] % 5 != 4]
    aside = folder / "built" / QUARANTINE
    return {
        "answers": len(seen),
        "torn": sum(not whole for _, _, _, whole, _ in seen),
        "builds": [sum(o[1] for o in quiet if o[0] == n) for n in range(ROUNDS) if n % 5 != 4],
        "uncached": sum(not cached for _, _, cached, _, _ in quiet),
        "notes": sorted({note for *_, notes in quiet for note in notes}),
        "quarantined": len(list(aside.iterdir())) if aside.exists() else 0,
        "left": sorted({path.suffix for path in (folder / "built").iterdir()}),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2] == "locks")))
