"""The report of `scumble bench` as data: what is written as JSON and read again to be compared.

Seconds are wall-clock times, bytes are bytes, FLOPs count a multiplication and an addition as two.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from scumble_bench.latency.interleaving import Spread

__all__ = [
    "Bench",
    "Ceiling",
    "Fit",
    "Growth",
    "Loading",
    "Measured",
    "Memory",
    "Point",
    "Range",
    "StageTime",
    "TargetVerdict",
    "VariantCost",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Record):
    """Median, 10th and 90th percentile."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Return the range of some values, interpolated linearly; None where there are none."""
        spread = Spread.of(tuple(values))
        return spread and cls(median=spread.median, p10=spread.p10, p90=spread.p90)


class Memory(_Record):
    """Peak memory in bytes: of the process, and of the device where there is one."""

    rss: int
    device: int | None = None


class StageTime(_Record):
    """What a stage of an edit took: text, encode, inversion, sampling by variant, decode, host.

    Attributes:
        stage: its name; sampling is split as `sampling: VARIANT`.
        seconds: over the timed runs.
        calls: of the UNet in one run, where it is a stage of the UNet.
        rows: evaluated in one run, likewise.
    """

    stage: str
    seconds: Range
    calls: int | None = None
    rows: int | None = None


class Measured(_Record):
    """One cell of the matrix: an edit, or a peer that does the same.

    Attributes:
        name: no two cells have the same.
        method: plugin or peer.
        peer: whether it is not Scumble's own way.
        engine: what ran the UNet.
        precision: of the UNet.
        model: as it was named.
        size: (height, width) in pixels.
        steps: of the schedule.
        edit: `first` of a picture not seen before, or `next` of one that is known.
        convention: of the inversion that a first edit begins with.
        seconds: of every timed run, in order; fewer than the rounds where it failed.
        spread: of the seconds; None where there are none.
        ratio: the baseline's seconds over this cell's, round by round: how many times as fast.
        agreement: for a peer: largest difference of final latents to ours, relative to their
            largest number; its time counts only where that is within the tolerance.
        tolerance: for a peer.
        composed: whether the seconds were put together from single steps.
        rows: evaluated by the UNet in one run, inversion included.
        gradients: taken in one run.
        stages: where the time goes; empty where it cannot be told.
        host_share: of the time of inversion and sampling, what passes outside the UNet.
        memory: peak of one run in a process of its own; None where it was not measured.
        failure: why there is no figure, or None.
        notes: what a reader has to know, one sentence each.
    """

    name: str
    method: str
    peer: bool = False
    engine: str
    precision: str
    model: str
    size: tuple[int, int]
    steps: int
    edit: Literal["first", "next"]
    convention: Literal["target", "current"] = "target"
    seconds: tuple[float, ...] = ()
    spread: Range | None = None
    ratio: Range | None = None
    agreement: float | None = None
    tolerance: float | None = None
    composed: bool = False
    rows: int | None = None
    gradients: int | None = None
    stages: tuple[StageTime, ...] = ()
    host_share: Range | None = None
    memory: Memory | None = None
    failure: str | None = None
    notes: tuple[str, ...] = ()


class Ceiling(_Record):
    """The fastest matrix product that was measured, and the fastest copy.

    Attributes:
        device: in words.
        engine: whose matrix product.
        precision: of its numbers.
        flops_per_second: of the best shape.
        shape: (m, k, n) of it.
        bytes_per_second: read and written, of a copy larger than the caches.
    """

    device: str
    engine: str
    precision: str
    flops_per_second: float
    shape: tuple[int, int, int]
    bytes_per_second: float


class VariantCost(_Record):
    """A variant of the UNet against the limits of the device.

    Attributes:
        engine: what ran it.
        precision: of it.
        model: as it was named.
        variant: such as `plain` or `routed`.
        rows: of the batch.
        size: (height, width) of the picture in pixels.
        flops: counted from its graph, for this many rows.
        bytes: weights read, and arguments and answers, at least once each.
        seconds: of one call.
        fraction_of_peak: flops / seconds / the ceiling's.
        bandwidth: bytes / seconds.
        bound: what would limit an ideal run: `compute` or `memory`.
        failure: why there is no figure, or None.
    """

    engine: str
    precision: str
    model: str
    variant: str
    rows: int
    size: tuple[int, int]
    flops: float | None = None
    bytes: float | None = None
    seconds: Range | None = None
    fraction_of_peak: float | None = None
    bandwidth: float | None = None
    bound: Literal["compute", "memory"] | None = None
    failure: str | None = None


class Point(_Record):
    """One measurement of a growth: at x, so many seconds."""

    x: float
    seconds: Range


class Fit(_Record):
    """seconds = constant + slope * x, by least squares over the medians, with its R squared."""

    constant: float
    slope: float
    r_squared: float


class Growth(_Record):
    """What time grows with.

    Attributes:
        axis: rows, pixels, steps, hooked sites, or edits of one picture.
        unit: of x, one of them.
        timed: what takes the time, such as "a plain step".
        engine: what ran it.
        model: as it was named.
        points: in the order of x.
        fit: None with fewer than three points.
        failure: why points are missing, or None.
    """

    axis: str
    unit: str
    timed: str = ""
    engine: str
    model: str
    points: tuple[Point, ...]
    fit: Fit | None = None
    failure: str | None = None


class Loading(_Record):
    """What it takes before the first edit.

    Attributes:
        engine: what is made ready.
        model: as it was named.
        precision: of the UNet.
        load: seconds until an editor is there, its engine built or cached.
        export: seconds to export the pack, None where it was not exported here.
        build: seconds to build the engine anew, None where there is nothing to build.
        failure: why there is no figure, or None.
    """

    engine: str
    model: str
    precision: str
    load: float | None = None
    export: float | None = None
    build: float | None = None
    failure: str | None = None


class TargetVerdict(_Record):
    """What is aimed at, and what was found.

    Attributes:
        target: its name.
        says: in words.
        engine: whose figure decides, or `any` where there is none.
        threshold: in words.
        value: the median, or None where nothing was measured.
        spread: of a ratio round by round.
        verdict: `not measured` where the value does not decide; `why` says why.
        why: one sentence, or empty.
    """

    target: str
    says: str
    engine: str
    threshold: str
    value: float | None = None
    spread: Range | None = None
    verdict: Literal["met", "missed", "not measured"]
    why: str = ""


class Bench(_Record):
    """A whole report.

    Attributes:
        provenance: versions, machine, threads, commit, weights, load, date.
        settings: of the command.
        baseline: name of the cell that ratios are against.
        cells: of the matrix, all that were asked for; a failed one says why.
        ceilings: measured limits.
        variants: against them.
        growth: by axis.
        loading: by engine.
        targets: each with its verdict.
    """

    format: Literal["scumble-bench-1"] = "scumble-bench-1"
    provenance: dict[str, Any]
    settings: dict[str, Any]
    baseline: str
    cells: tuple[Measured, ...]
    ceilings: tuple[Ceiling, ...] = ()
    variants: tuple[VariantCost, ...] = ()
    growth: tuple[Growth, ...] = ()
    loading: tuple[Loading, ...] = Field(default=())
    targets: tuple[TargetVerdict, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Bench":
        """Return the report in a JSON file.

        Raises:
            ValidationError: it is none, or of another format.
        """
        return cls.model_validate_json(path.read_text(encoding="utf-8"))
