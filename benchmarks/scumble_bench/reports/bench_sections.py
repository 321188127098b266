"""The tables of a bench report's later sections; a section without anything measured is empty."""

from scumble_bench.latency.records import Bench
from scumble_bench.reports.page import Cell, Shown, paragraph, table
from scumble_bench.reports.wording import bytes_text, digits, seconds_text

__all__ = ["growths", "limits", "loadings", "memories", "stage_table", "target_table"]


def target_table(bench: Bench) -> list[str]:
    """Return what was aimed at and whether it was met; of what was not measured, why."""
    rows: list[list[Shown]] = []
    for one in bench.targets:
        ends = (one.spread.p10, one.spread.p90) if one.spread else (None, None)
        rows.append(
            [
                one.target,
                one.says,
                one.engine,
                one.threshold,
                *(_number(value) for value in (one.value, *ends)),
                Cell(one.verdict, one.verdict, alarm=one.verdict != "met"),
                one.why,
            ]
        )
    headings = ("target", "says", "engine", "wanted", "found", "p10", "p90", "verdict", "why")
    return [table("targets and verdicts", headings, rows)] if rows else []


def stage_table(bench: Bench) -> list[str]:
    """Return what each stage of each cell took."""
    rows: list[list[Shown]] = []
    for cell in bench.cells:
        whole = sum(one.seconds.median for one in cell.stages)
        for one in cell.stages:
            share = one.seconds.median / whole if whole else 0.0
            rows.append(
                [
                    cell.name,
                    one.stage,
                    *_seconds(one.seconds.median, one.seconds.p10, one.seconds.p90),
                    Cell(f"{share:.1%}", share),
                    _count(one.calls),
                    _count(one.rows),
                ]
            )
    headings = ("cell", "stage", "median", "p10", "p90", "share", "UNet calls", "rows")
    return [table("stages of one edit", headings, rows)] if rows else []


def limits(bench: Bench) -> list[str]:
    """Return the ceilings, and the variants against them."""
    found: list[str] = []
    if bench.ceilings:
        rows: list[list[Shown]] = [
            [
                one.device,
                one.engine,
                one.precision,
                Cell(f"{digits(one.flops_per_second / 1e9)} GFLOP/s", one.flops_per_second),
                "×".join(str(side) for side in one.shape),
                Cell(f"{digits(one.bytes_per_second / 1e9)} GB/s", one.bytes_per_second),
            ]
            for one in bench.ceilings
        ]
        headings = ("device", "engine", "precision", "matrix product", "m×k×n", "copy")
        found.append(table("measured ceilings", headings, rows))
    if bench.variants:
        found.append(_variants(bench))
    return found


def growths(bench: Bench) -> list[str]:
    """Return the fitted lines; of one without a line, why."""
    rows: list[list[Shown]] = []
    for one in bench.growth:
        fit = one.fit
        rows.append(
            [
                one.axis,
                one.engine,
                one.model,
                Cell(str(len(one.points)), len(one.points)),
                *(_second(fit.constant if fit else None), _second(fit.slope if fit else None)),
                one.unit,
                Cell(digits(fit.r_squared), fit.r_squared) if fit else Cell(""),
                Cell(one.failure or "", one.failure, alarm=True),
            ]
        )
    headings = (
        "grows with", "engine", "model", "points", "constant", "slope", "per", "R²", "failure",
    )  # fmt: skip
    return [table("time = constant + slope × x", headings, rows)] if rows else []


def memories(bench: Bench) -> list[str]:
    """Return peak memory, of the cells in which it was measured."""
    rows: list[list[Shown]] = [
        [cell.name, *(_bytes(count) for count in (cell.memory.rss, cell.memory.device))]
        for cell in bench.cells
        if cell.memory
    ]
    if not rows:
        return []
    told = "Peaks of one run in a process of its own, libraries and weights included."
    return [paragraph(told, "quiet"), table("peak memory", ("cell", "process", "device"), rows)]


def loadings(bench: Bench) -> list[str]:
    """Return what each engine takes before the first edit."""
    rows: list[list[Shown]] = [
        [
            one.engine,
            one.model,
            one.precision,
            *(_second(value) for value in (one.load, one.export, one.build)),
            Cell(one.failure or "", one.failure, alarm=True),
        ]
        for one in bench.loading
    ]
    headings = ("engine", "model", "precision", "load", "export", "build", "failure")
    return [table("seconds until an editor is there", headings, rows)] if rows else []


def _variants(bench: Bench) -> str:
    rows: list[list[Shown]] = []
    for one in bench.variants:
        took = one.seconds.median if one.seconds else None
        peak = one.fraction_of_peak
        rows.append(
            [
                one.variant,
                Cell(str(one.rows), one.rows),
                Cell(f"{one.size[0]}×{one.size[1]}", one.size[0] * one.size[1]),
                *(one.engine, one.precision, one.model),
                _giga(one.flops, "GFLOP"),
                _giga(one.bytes, "GB"),
                _second(took),
                Cell("" if peak is None else f"{peak:.1%}", peak),
                _giga(one.bandwidth, "GB/s"),
                one.bound or "",
                Cell(one.failure or "", one.failure, alarm=True),
            ]
        )
    headings = (
        "variant", "rows", "size", "engine", "precision", "model", "FLOPs", "bytes", "one call",
        "of peak", "bandwidth", "bound", "failure",
    )  # fmt: skip
    return table("variants of the UNet", headings, rows)


def _seconds(*values: float) -> list[Shown]:
    return [_second(value) for value in values]


def _second(value: float | None) -> Cell:
    return Cell("" if value is None else seconds_text(value), value)


def _number(value: float | None) -> Cell:
    return Cell("" if value is None else digits(value), value)


def _bytes(value: int | None) -> Cell:
    return Cell("" if value is None else bytes_text(value), value)


def _count(value: int | None) -> Cell:
    return Cell("" if value is None else str(value), value)


def _giga(value: float | None, unit: str) -> Cell:
    return Cell("" if value is None else f"{digits(value / 1e9)} {unit}", value)
