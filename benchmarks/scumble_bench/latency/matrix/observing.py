"""Where the time of an edit goes, told by an engine's calls.

For as long as an observation lasts, the methods through which a session reaches its engine are
wrapped by ones that take the time. What a runtime computes is told apart from what surrounds it:
where an engine has one method that all its graphs run through (`_run`), the time inside counts as
the stage's, and the checking and packing of ports around it as the host's.
"""

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, cast

from scumble.arrays import Array
from scumble.engine import Engine
from scumble.session import Session
from scumble_bench.latency.records import Range, StageTime

__all__ = ["Breakdown", "Observation", "observed", "stages_of"]

COMPONENTS: Mapping[str, str] = {
    "encode_text": "text",
    "encode_image": "encode",
    "decode": "decode",
}
UNET = ("step", "look", "gradient")
PLAIN = "sampling: plain"
HOST = "host"
OUTSIDE = ("sampling: probe", "planning", "masking")
"""Calls of the UNet that are no part of inversion and sampling."""


@dataclass(slots=True)
class _Stage:
    seconds: float = 0.0
    calls: int = 0
    rows: int = 0
    unet: bool = False


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One run, split.

    Attributes:
        stages: name -> seconds, calls and rows; the last two only of the UNet.
        looping: seconds of inversion and sampling, the host's part in them included.
    """

    stages: Mapping[str, tuple[float, int | None, int | None]]
    looping: float

    @property
    def host_share(self) -> float | None:
        """The part of inversion and sampling that passes outside the UNet; None without any."""
        unet = sum(
            seconds
            for name, (seconds, calls, _) in self.stages.items()
            if calls is not None and name not in OUTSIDE
        )
        return None if not self.looping else max(0.0, 1 - unet / self.looping)


@dataclass(slots=True)
class Observation:
    """Collects the calls of one run after another."""

    _stages: dict[str, _Stage] = field(default_factory=dict[str, _Stage])
    _variant: str = "plain"
    _within: bool = False
    _inner: float | None = None

    def take(self, total: float, timings: Mapping[str, float]) -> Breakdown:
        """Return the split of the run that has ended, and begin anew.

        Args:
            total: seconds of the whole run.
            timings: its own, by stage; inversion and sampling are looked up.
        """
        found = {
            name: (s.seconds, s.calls if s.unet else None, s.rows if s.unet else None)
            for name, s in self._stages.items()
        }
        spent = sum(seconds for seconds, _, _ in found.values())
        looping = timings.get("inversion", 0.0) + timings.get("sampling", 0.0)
        self._stages = {}
        return Breakdown({**found, HOST: (max(0.0, total - spent), None, None)}, looping)

    def outer(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return an engine's public method with its time taken."""

        def timed(*given: Any) -> Any:
            # A look is a step on engines that have no graph of it; it counts once.
            if self._within:
                return call(*given)
            self._within, self._inner = True, None
            begun = perf_counter()
            try:
                return call(*given)
            finally:
                spent = perf_counter() - begun
                self._within = False
                self._book(name, spent if self._inner is None else self._inner, given)

        return timed

    def inner(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method that a runtime computes in with its time taken."""

        def timed(*given: Any) -> Any:
            begun = perf_counter()
            try:
                answer = call(*given)
                _wait()
                return answer
            finally:
                self._inner = (self._inner or 0.0) + perf_counter() - begun

        return timed

    def named(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a session's `step`, which tells under which name its rows are counted."""

        def step(ports: Mapping[str, object], variant: str, *more: Any) -> Any:
            self._variant = variant
            return call(ports, variant, *more)

        return step

    def renamed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a session's `count_as`, which says what the plain steps so far were for."""

        def count_as(stage: str) -> None:
            call(stage)
            if PLAIN in self._stages:
                found, kept = self._stages.pop(PLAIN), self._stages.setdefault(stage, _Stage())
                kept.seconds += found.seconds
                kept.calls += found.calls
                kept.rows += found.rows
                kept.unet = True

        return count_as

    def _book(self, name: str, seconds: float, given: Sequence[Any]) -> None:
        unet = name in UNET
        if name == "step":
            stage = f"sampling: {self._variant}"
        else:
            stage = f"sampling: {name}" if unet else COMPONENTS[name]
        booked = self._stages.setdefault(stage, _Stage())
        booked.seconds += seconds
        booked.calls += 1
        booked.unet = unet
        if unet:
            booked.rows += len(cast("Array", given[0]["sample"]))


@contextmanager
def observed(session: Session) -> Generator[Observation]:
    """Observe a session's engines for as long as the context lasts."""
    seen = Observation()
    with ExitStack() as undo:
        sessions = {id(s): s for s in (session, session.gradients)}
        for each in sessions.values():
            _patch(undo, each, "step", seen.named(each.step))
            _patch(undo, each, "count_as", seen.renamed(each.count_as))
            for name, call in _calls(each.engine):
                _patch(undo, each.engine, name, seen.outer(name, call))
            run = getattr(each.engine, "_run", None)
            if run is not None:
                _patch(undo, each.engine, "_run", seen.inner(run))
        yield seen


def stages_of(runs: Sequence[Breakdown]) -> tuple[StageTime, ...]:
    """Return the stages of some runs of one cell, in the order in which they came up."""
    names = dict.fromkeys(name for run in runs for name in run.stages if name != HOST)
    found: list[StageTime] = []
    for name in (*names, HOST) if runs else ():
        # A stage that a run did without took it no time.
        seconds = Range.of([run.stages.get(name, (0.0, 0, 0))[0] for run in runs])
        assert seconds is not None
        _, calls, rows = runs[-1].stages.get(name, (0.0, 0, 0))
        found.append(StageTime(stage=name, seconds=seconds, calls=calls, rows=rows))
    return tuple(found)


def _calls(engine: Engine) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in (*UNET, *COMPONENTS):
        yield name, getattr(engine, name)


def _patch(undo: ExitStack, owner: object, name: str, replacement: Callable[..., Any]) -> None:
    # Another wrapper may be there already, which is what comes back.
    if name in vars(owner):
        undo.callback(setattr, owner, name, getattr(owner, name))
    else:
        undo.callback(delattr, owner, name)
    setattr(owner, name, replacement)


def _wait() -> None:
    """Wait for a CUDA device, whose calls come back before they are done."""
    torch = cast("Any", sys.modules.get("torch"))
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.synchronize()
