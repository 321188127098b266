"""Times callables alternately in one process, and compares them round by round.

What disturbs a machine for a while disturbs every cell of a round alike, so a ratio is taken within
each round and its median reported. The order is reversed in every second round, so that no cell
always runs after the same one. Before each there is a short rest, for runtimes let their threads
spin for a while after a run, and would take the cores from the next cell. A cell that fails is
reported with its cause, and the others go on.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

__all__ = ["REST", "Cell", "Comparison", "Spread", "Timing", "cause_of", "interleave"]


REST = 0.02
"""Seconds; threads of OpenMP spin for some ms, those of ONNX Runtime's own defaults up to 30."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Something to time.

    Attributes:
        name: unique within a comparison.
        run: what is timed; what it returns is dropped.
        prepare: called before each run, untimed; loading belongs here. A cell of a single UNet
            step is prepared by itself, for in sampling a step follows a step.
    """

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 10th and 90th percentile of some numbers, interpolated linearly."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: tuple[float, ...]) -> Self | None:
        """Return the spread of the values, or None where there are none."""
        if not values:
            return None
        low, middle, high = np.percentile(values, (10, 50, 90))
        return cls(float(middle), float(low), float(high))

    def as_json(self) -> dict[str, float]:
        """Return the three numbers, to six digits."""
        return {name: float(f"{getattr(self, name):.6g}") for name in ("median", "p10", "p90")}


@dataclass(frozen=True, slots=True)
class Timing:
    """What a cell took.

    Attributes:
        name: of the cell.
        seconds: of each round, in order, up to a failure.
        failure: why it stopped, or None.
    """

    name: str
    seconds: tuple[float, ...]
    failure: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything, with the spread of the seconds."""
        spread = Spread.of(self.seconds)
        return {
            "seconds": [round(second, 6) for second in self.seconds],
            **({} if spread is None else spread.as_json()),
            "failure": self.failure,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """The timings of cells that were run alternately.

    Attributes:
        timings: by name, in the order given.
        rounds: asked for.
        warmup: untimed rounds before them.
    """

    timings: Mapping[str, Timing]
    rounds: int
    warmup: int

    def composed(self, counts: Mapping[str, int]) -> tuple[float, ...]:
        """Return, for each round that all cells named have, the sum of count times seconds."""
        parts = [[count * s for s in self.timings[name].seconds] for name, count in counts.items()]
        return tuple(sum(row) for row in zip(*parts, strict=False))

    def ratio(
        self, above: str | Mapping[str, int], below: str | Mapping[str, int]
    ) -> Spread | None:
        """Return the spread of above / below over the rounds that both have; None for no round.

        Args:
            above: a cell, or how often each of some cells is counted.
            below: likewise.
        """
        first, second = (
            self.composed({side: 1} if isinstance(side, str) else side) for side in (above, below)
        )
        return Spread.of(tuple(a / b for a, b in zip(first, second, strict=False)))

    def failure(self, *names: str) -> str:
        """Return why cells among these failed, one sentence; empty if none did."""
        failed = (self.timings[name] for name in names)
        return "; ".join(f"{t.name}: {t.failure}" for t in failed if t.failure is not None)

    def as_json(self) -> dict[str, Any]:
        """Return every timing, by name."""
        return {
            "rounds": self.rounds,
            "warmup": self.warmup,
            "cells": {name: timing.as_json() for name, timing in self.timings.items()},
        }


def interleave(
    *cells: Cell,
    rounds: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    rest: Callable[[float], object] = time.sleep,
    tell: Callable[[str], object] = lambda name: None,
) -> Comparison:
    """Run cells alternately and return what they took.

    Args:
        cells: two or more, or one to be timed alone; names are unique.
        rounds: timed runs of each cell.
        warmup: runs of each cell before that, untimed.
        clock: in seconds.
        rest: called with `REST` before each turn.
        tell: called with a cell's name after each turn of it, timed or not, taken or not.

    Raises:
        ValueError: no cell, two of one name, no round, or less than no warmup.
    """
    names = [cell.name for cell in cells]
    if not cells or len(set(names)) < len(names) or rounds < 1 or warmup < 0:
        raise ValueError(
            f"{rounds} rounds and {warmup} warm-up rounds of cells {names} cannot be run; give "
            "cells of different names and at least one round."
        )
    seconds: dict[str, list[float]] = {name: [] for name in names}
    failures: dict[str, str] = {}
    for number in range(-warmup, rounds):
        for cell in cells if number % 2 == 0 else cells[::-1]:
            if cell.name not in failures:
                rest(REST)
                try:
                    spent = _timed(cell, clock)
                    if number >= 0:
                        seconds[cell.name].append(spent)
                # A cell may raise anything; its cause goes into the report, and the others go on.
                except Exception as error:
                    failures[cell.name] = cause_of(error)
            tell(cell.name)
    timings = {name: Timing(name, tuple(seconds[name]), failures.get(name)) for name in names}
    return Comparison(timings, rounds, warmup)


def cause_of(error: Exception) -> str:
    """Return an exception in one line, its kind first."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _timed(cell: Cell, clock: Callable[[], float]) -> float:
    if cell.prepare is not None:
        cell.prepare()
    begun = clock()
    cell.run()
    return clock() - begun
