"""Kills builds at every step and at random moments; prints what was found, as JSON.

Run with an empty folder. In a process of its own, with one thread, so that it may fork.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

from scumble.built import BuiltCache, entry
from scumble.built.shelf import QUARANTINE

STEPS: dict[str, Any] = run_path(str(Path(__file__).with_name("steps.py")))
SIZE = 120_000
entry.BLOCK = 4096  # many writes, many moments to die between them


class Scene:
    """A cache in which a build is going to be killed.

    Args:
        folder: where.
        busy: there are a damaged entry in the way and others that have to go.
    """

    def __init__(self, folder: Path, busy: bool) -> None:
        self.cache = BuiltCache(folder, 3 * SIZE)
        self.key = STEPS["key"]()
        self.place = folder / "built"
        self.others = [STEPS["key"](variant=str(number)) for number in range(2 if busy else 0)]
        for number, other in enumerate(self.others):
            self.cache.get_or_build(other, lambda: STEPS["payload"](b"other", SIZE))
            os.utime(self.place / f"{other.digest}.built", (number, number))
        if busy:
            (self.place / f"{self.key.digest}.built").write_bytes(b"damaged")

    def build(self, steps: Any = None) -> bytes:
        """The plan, in pieces, each of them a moment to die."""
        for _ in range(3 if steps else 0):
            steps.point("build")
        return STEPS["payload"](b"plan", SIZE)

    def faults(self) -> list[str]:
        """What is wrong with the cache after a build was killed in it."""
        found: list[str] = []
        planted = b"damaged"
        for path in self.place.glob("*.built") if self.place.exists() else ():
            if path.read_bytes() == planted:
                continue
            known = {f"{key.digest}.built": key for key in (self.key, *self.others)}
            try:
                entry.read(path, known[path.name])
            except entry.DamagedError as error:
                found.append(f"{path.name} {error}")
        aside = self.place / QUARANTINE
        found += [
            f"{path.name} was set aside"
            for path in (aside.iterdir() if aside.exists() else ())
            if path.read_bytes() != planted
        ]
        begun = time.monotonic()
        done = self.cache.get_or_build(self.key, self.build)
        if time.monotonic() - begun > 5:
            found.append("the next call had to wait")
        if not done.cached or not STEPS["is_whole"](done.data, b"plan"):
            found.append(f"the next call: built {done.built}, cached {done.cached}, {done.notes}")
        if [note for note in done.notes if "was moved to" not in note]:
            found.append(f"the next call: {done.notes}")
        if self.cache.get(self.key) != done.data:
            found.append("the call after that has other bytes")
        for path in self.place.glob("*.part"):
            os.utime(path, (0, 0))
        self.cache.get_or_build(STEPS["key"](variant="last"), lambda: b"last")
        if left := [path.name for path in self.place.glob("*.part")]:
            found.append(f"{left} stay for ever")
        return found


def forked(work: Callable[[], object]) -> int:
    """Start a child that does some work and ends."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def at_every_step(folder: Path, busy: bool) -> dict[str, Any]:
    """Kill a build once before, in and after each of its steps."""
    scene = Scene(folder / "whole", busy)
    moments: list[tuple[int, str, str]] = []
    with STEPS["Steps"](scene.cache.folder, lambda *at: moments.append(at)) as steps:
        scene.cache.get_or_build(scene.key, lambda: scene.build(steps))
    found: list[str] = []
    killed = 0
    for number, moment in enumerate(moments):
        scene = Scene(folder / str(number), busy)

        def die(*at: object, moment: object = moment) -> None:
            if at == moment:
                os.kill(os.getpid(), signal.SIGKILL)

        def work(scene: Scene = scene, die: Callable[..., None] = die) -> None:
            with STEPS["Steps"](scene.cache.folder, die) as steps:
                scene.cache.get_or_build(scene.key, lambda: scene.build(steps))

        _, status = os.waitpid(forked(work), 0)
        killed += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        found += [f"{moment}: {fault}" for fault in scene.faults()]
    return {"moments": len(moments), "killed": killed, "faults": found}


def at_random(folder: Path, count: int) -> dict[str, Any]:
    """Kill builds at moments that nobody chose."""
    chance = random.Random(3)
    found: list[str] = []
    killed = 0
    spent = 0.0
    for number in range(count):
        scene = Scene(folder / str(number), busy=number % 2 == 0)
        begun = time.monotonic()
        child = forked(lambda scene=scene: scene.cache.get_or_build(scene.key, scene.build))
        if number < 4:  # how long it takes where nothing happens
            os.waitpid(child, 0)
            spent = max(spent, time.monotonic() - begun)
            continue
        time.sleep(chance.uniform(0, 0.7 * spent))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        found += [f"{number}: {fault}" for fault in scene.faults()]
    return {"moments": count - 4, "killed": killed, "faults": found}


if __name__ == "__main__":
    root = Path(sys.argv[1])
    report = {
        "fresh": at_every_step(root / "fresh", busy=False),
        "busy": at_every_step(root / "busy", busy=True),
        "random": at_random(root / "random", 84),
    }
    print(json.dumps(report))
