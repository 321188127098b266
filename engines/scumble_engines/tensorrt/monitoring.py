"""How far a build is, as TensorRT reports it."""

import threading
from collections.abc import Callable
from typing import Any

from scumble_engines.tensorrt.library import Library

__all__ = ["Phases", "make_monitor"]


class Phases:
    """Phases within phases, and the share of the outermost one that is done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._share = 0.0
        self._open: dict[str, tuple[str | None, int, int]] = {}  # parent, steps done, steps in all

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Open a phase of so many steps."""
        with self._lock:
            self._open[name] = (parent, 0, max(1, steps))

    def step(self, name: str, step: int) -> None:
        """Count a step, the first being 0."""
        with self._lock:
            if name in self._open:
                parent, _, steps = self._open[name]
                self._open[name] = (parent, step + 1, steps)

    def finish(self, name: str) -> None:
        """Close a phase."""
        with self._lock:
            self._open.pop(name, None)

    @property
    def share(self) -> float:
        """What is done of the whole, 0 to 1; it never goes back, though phases end before steps."""
        with self._lock:
            whole = [self._done(name) for name, one in self._open.items() if one[0] is None]
            self._share = max(self._share, *whole, 0.0)
            return self._share

    def _done(self, name: str) -> float:
        _, done, steps = self._open[name]
        within = [inner for inner, one in self._open.items() if one[0] == name]
        return min(1.0, (done + max(map(self._done, within), default=0.0)) / steps)


def make_monitor(library: Library, tell: Callable[[float], None]) -> Any:
    """Return what TensorRT reports to, from whichever thread it likes.

    Args:
        library: whose class is made use of.
        tell: given the share that is done; what it raises does not get past TensorRT.
    """
    kind = library.api.IProgressMonitor
    phases = Phases()

    class Monitor(kind):  # a class of the module that was found
        def __init__(self) -> None:
            kind.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            tell(phases.share)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
