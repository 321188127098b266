"""One cell in a process of its own, for its peak of memory and the time to load.

A process keeps the peak of all that it ever did, so each cell gets a new one. The system's own
record (`ru_maxrss`) would not do: Linux carries it over from the process that started this one.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.records import Memory

__all__ = ["FreshError", "FreshRun", "main", "peak_memory", "run_fresh"]

STATUS = Path("/proc/self/status")


class FreshError(Exception):
    """The process ended without an answer."""


@dataclass(frozen=True, slots=True)
class FreshRun:
    """What a new process told.

    Attributes:
        load: seconds until the editor or peer was there, imports of its runtime included.
        first: peak once a first edit was made; None if none was.
        next: peak once the next edit of the same picture was made, too.
    """

    load: float
    first: Memory | None = None
    next: Memory | None = None

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """Return what was written as JSON."""
        peaks = {
            name: None if told[name] is None else Memory(**told[name]) for name in ("first", "next")
        }
        return cls(told["load"], **peaks)


def run_fresh(
    spec: CellSpec,
    *,
    peer: str | None = None,
    edits: bool = True,
    device: str = "cpu",
    threads: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> FreshRun:
    """Load, and edit once or twice, in a new process.

    Args:
        spec: the cell; its `next` edit is made too.
        peer: name in the registry of a peer to be run in place of Scumble.
        edits: False only loads.
        device: `auto`, `cpu` or `cuda`.
        threads: of every runtime.
        environment: what is added to this process's.

    Raises:
        FreshError: it failed; its last words are in the message.
    """
    asked = {
        "spec": asdict(spec), "peer": peer, "edits": edits, "device": device, "threads": threads
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "scumble_bench.latency.matrix.fresh"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise FreshError(last[0])
    return FreshRun.of(json.loads(done.stdout.splitlines()[-1]))


def peak_memory(status: Path = STATUS) -> Memory:
    """Return the peak of this process since it was started, and of its CUDA device."""
    device = None
    torch = cast("Any", sys.modules.get("torch"))
    if torch is not None and torch.cuda.is_initialized():
        device = int(torch.cuda.max_memory_allocated())
    try:
        for line in status.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return Memory(rss=1024 * int(value.split()[0]), device=device)
    except OSError:
        pass  # No Linux: its own record holds this process alone there.
    unit = 1 if sys.platform == "darwin" else 1024
    return Memory(rss=unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, device=device)


def main() -> None:
    """Read what is asked from stdin, do it, and write what it took as one line of JSON."""
    asked = json.load(sys.stdin)
    given: dict[str, Any] = asked["spec"]
    given["size"] = tuple(given["size"])
    spec = CellSpec(**given)
    done = _peer(spec, asked) if asked["peer"] else _own(spec, asked)
    peaks = {"first": done.first, "next": done.next}
    told = {name: None if peak is None else peak.model_dump() for name, peak in peaks.items()}
    print(json.dumps({"load": done.load, **told}))


def _own(spec: CellSpec, asked: Mapping[str, Any]) -> FreshRun:
    from scumble_bench.latency.matrix.cases import Pictures, case_of
    from scumble_bench.latency.matrix.editors import Editors

    begun = time.perf_counter()
    with Editors(asked["device"], asked["threads"]) as editors:
        editor = editors.for_cell(spec)
        load = time.perf_counter() - begun
        if not asked["edits"]:
            return FreshRun(load)
        case = case_of(spec)
        pictures = Pictures(case)
        case.edit(editor, pictures.known, pictures.known_seed, case.another)
        first = peak_memory()
        case.edit(editor, pictures.known, pictures.known_seed)
        return FreshRun(load, first, peak_memory())


def _peer(spec: CellSpec, asked: Mapping[str, Any]) -> FreshRun:
    from scumble_bench.peers.peer import PEERS

    entry = next(entry for entry in PEERS if entry.name == asked["peer"])
    device = "cuda" if asked["device"].startswith("cuda") else "cpu"
    precision: Any = spec.precision
    begun = time.perf_counter()
    peer = entry.load(spec.model, precision, asked["threads"], device)
    load = time.perf_counter() - begun
    if asked["edits"]:
        peer.run(entry.work(spec.steps, spec.size), entry.picture())
    return FreshRun(load, peak_memory() if asked["edits"] else None)


if __name__ == "__main__":
    main()
