"""A bench report as one page: ratios first, then what failed, provenance, and everything else."""

from collections.abc import Mapping, Sequence
from typing import Any

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports.bench_sections import (
    growths,
    limits,
    loadings,
    memories,
    stage_table,
    target_table,
)  # fmt: skip
from scumble_bench.reports.facts import flattened
from scumble_bench.reports.page import (
    Cell,
    Shown,
    document,
    figure,
    listed,
    paragraph,
    section,
    table,
)  # fmt: skip
from scumble_bench.reports.wording import cause, machine, seconds_text, standing, times_text

__all__ = ["bench_page", "summary"]


def bench_page(bench: Bench, pictures: Mapping[str, tuple[str, bytes, bytes]]) -> str:
    """Return a report as HTML that needs no other file.

    Args:
        bench: the data.
        pictures: name of a plot -> what it shows, and its PNG for light and for dark ground.
    """

    def drawn(name: str) -> str:
        return figure(*pictures[name]) if name in pictures else ""

    where = machine(bench.provenance)
    body = [
        paragraph(f"{where}; {bench.provenance.get('date', 'no date')}.", "quiet"),
        section(
            "Speed against the baseline",
            *(paragraph(line) for line in summary(bench)),
            drawn("ratios"),
            _ratio_table(bench),
            _notes(bench),
        ),
        *(section("Targets", *parts) for parts in [target_table(bench)] if parts),
        section("Failed, or does not count", *_failures(bench)),
        section("Provenance", _facts("provenance", bench.provenance), *_settings(bench)),
        section(
            f"Absolute times, on {where}",
            paragraph("They hold on this machine alone; ratios travel further.", "quiet"),
            drawn("times"),
            _times_table(bench, where),
        ),
    ]
    more = (
        ("Where the time goes", "stages", stage_table(bench)),
        ("Against the limits of the device", "limits", limits(bench)),
        ("What time grows with", "growth", growths(bench)),
        ("Peak memory", "memory", memories(bench)),
        ("Until the first edit", "", loadings(bench)),
    )
    body += [section(heading, drawn(name), *parts) for heading, name, parts in more if parts]
    return document("Scumble: latency", body)


def summary(bench: Bench) -> list[str]:
    """Return the headline in sentences: what the ratios are against, and how many count."""
    found = [standing(cell) for cell in bench.cells]
    lines = [
        f"Every ratio is how many times as fast a cell is as the baseline, {bench.baseline}, "
        "taken round by round in one process; the median, with the 10th and 90th percentile."
    ]
    best = [c for c in bench.cells if c.ratio and standing(c) == "counts" and not c.peer]
    if best:
        top = max(best, key=lambda cell: cell.ratio.median if cell.ratio else 0.0)
        assert top.ratio is not None
        lines.append(f"The highest is {times_text(top.ratio.median)}: {top.name}.")
    lines.append(
        f"Cells: {len(found)}, of which count: {found.count('counts')}; failed: "
        f"{found.count('failed')}; peers that disagree with ours: {found.count('disagrees')}; "
        f"peers that were not compared with ours: {found.count('unchecked')}."
    )
    if all(cell.ratio is None for cell in bench.cells):
        lines.append("There is no ratio, for the baseline has no time.")
    return lines


def _facts(caption: str, facts: Mapping[str, Any]) -> str:
    rows = [(name, value) for name, value in flattened(facts).items()]
    return table(caption, ("what", "value"), rows)


def _settings(bench: Bench) -> list[str]:
    return [_facts("settings of the command", bench.settings)] if bench.settings else []


def _who(cell: Measured) -> list[Shown]:
    return [
        Cell(cell.name, cell.name),
        "peer" if cell.peer else "Scumble",
        cell.method,
        cell.engine,
        cell.precision,
        cell.model,
        Cell(f"{cell.size[0]}×{cell.size[1]}", cell.size[0] * cell.size[1]),
        Cell(str(cell.steps), cell.steps),
        cell.edit,
    ]


WHO = ("cell", "whose", "method", "engine", "precision", "model", "size", "steps", "edit")


def _range(spread: Range | None, tell: Any) -> list[Shown]:
    if spread is None:
        return [Cell("no figure", alarm=True), Cell(""), Cell("")]
    ends = (spread.median, spread.p10, spread.p90)
    return [Cell(tell(value), value) for value in ends]


def _ratio_table(bench: Bench) -> str:
    rows: list[list[Shown]] = []
    for cell in bench.cells:
        how = standing(cell)
        name, *others = _who(cell)
        rows.append(
            [
                name,
                *_range(cell.ratio, times_text),
                Cell(how, how, alarm=how != "counts"),
                *others,
                Cell("" if cell.rows is None else str(cell.rows), cell.rows),
                Cell("" if cell.gradients is None else str(cell.gradients), cell.gradients),
                Cell(f"{host.median:.1%}", host.median) if (host := cell.host_share) else Cell(""),
            ]
        )
    headings = ("cell", "ratio", "p10", "p90", "standing", *WHO[1:], "rows", "gradients", "host")
    return table(f"times as fast as {bench.baseline}", headings, rows)


def _times_table(bench: Bench, where: str) -> str:
    rows: list[list[Shown]] = []
    for cell in bench.cells:
        name, *others = _who(cell)
        runs = Cell(str(len(cell.seconds)), len(cell.seconds))
        made = Cell("composed from steps" if cell.composed else "measured whole")
        rows.append([name, *_range(cell.spread, seconds_text), runs, made, *others])
    headings = ("cell", "median", "p10", "p90", "runs", "how", *WHO[1:])
    return table(f"time of one edit on {where}", headings, rows)


def _notes(bench: Bench) -> str:
    return listed([f"{cell.name}: {note}" for cell in bench.cells for note in cell.notes])


def _failures(bench: Bench) -> Sequence[str]:
    rows: list[list[Shown]] = [
        [cell.name, Cell(standing(cell), standing(cell), alarm=True), cause(cell)]
        for cell in bench.cells
        if standing(cell) != "counts"
    ]
    others: list[tuple[str, str | None]] = [
        *((f"variant {v.variant}, {v.engine} {v.precision}, {v.model}", v.failure)
          for v in bench.variants),
        *((f"growth with {g.axis}, {g.engine}, {g.model}", g.failure) for g in bench.growth),
        *((f"loading {x.engine} {x.precision}, {x.model}", x.failure) for x in bench.loading),
    ]  # fmt: skip
    rows += [[name, Cell("failed", "failed", alarm=True), why] for name, why in others if why]
    if not rows:
        return [paragraph("Nothing failed, and every time counts.")]
    return [table("each with its cause", ("what", "standing", "cause"), rows)]
