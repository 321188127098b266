"""A report in the terminal: cells, targets, variants, growth; and what failed."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from scumble_bench.latency.records import Bench, Measured, Range

__all__ = ["failures", "print_bench"]


def print_bench(bench: Bench, console: Console) -> None:
    """Print a report's figures, ratios first, and below them every failure."""
    table = Table("cell", "times as fast", "p10 to p90", "seconds", "rows", "host", "peak MB")
    for cell in bench.cells:
        # Escaped, so that brackets in a model's folder are no markup.
        table.add_row(*map(escape, _line(cell, cell.name == bench.baseline)))
    console.print(table)
    _variants(bench, console)
    _growth(bench, console)
    _targets(bench, console)
    for line in failures(bench):
        console.print(f"failed: {line}", markup=False)


def failures(bench: Bench) -> Iterator[str]:
    """Yield a line for everything of a report that has no figure: what, and why."""
    for cell in bench.cells:
        if cell.failure:
            yield f"{cell.name}: {cell.failure}"
    for cost in bench.variants:
        if cost.failure:
            yield f"variant {cost.variant}, {cost.model}, {cost.engine}: {cost.failure}"
    for grown in bench.growth:
        if grown.failure:
            yield f"growth with {grown.axis}, {grown.model}, {grown.engine}: {grown.failure}"
    for made in bench.loading:
        if made.failure:
            yield f"loading {made.model}, {made.engine}: {made.failure}"


def _line(cell: Measured, baseline: bool) -> tuple[str, ...]:
    if cell.failure is not None and cell.spread is None:
        return cell.name, "failed", "", "", "", "", ""
    share = "" if cell.host_share is None else f"{cell.host_share.median:.1%}"
    return (
        cell.name,
        "baseline" if baseline else "" if cell.ratio is None else f"{cell.ratio.median:.2f}",
        "" if baseline else _between(cell.ratio),
        "" if cell.spread is None else f"{cell.spread.median:.3g}",
        "" if cell.rows is None else str(cell.rows),
        share,
        "" if cell.memory is None else f"{cell.memory.rss / 1e6:.0f}",
    )


def _between(spread: Range | None) -> str:
    return "" if spread is None else f"{spread.p10:.2f} to {spread.p90:.2f}"


def _variants(bench: Bench, console: Console) -> None:
    table = Table("variant", "engine", "rows", "GFLOP", "ms", "of peak", "GB/s", "bound")
    for cost in bench.variants:
        if cost.seconds is not None and cost.flops is not None and cost.bandwidth is not None:
            share = "" if cost.fraction_of_peak is None else f"{cost.fraction_of_peak:.0%}"
            table.add_row(
                cost.variant, cost.engine, str(cost.rows), f"{cost.flops / 1e9:.2f}",
                f"{1000 * cost.seconds.median:.1f}", share, f"{cost.bandwidth / 1e9:.1f}",
                cost.bound or "",
            )  # fmt: skip
    if table.row_count:
        console.print(table)


def _growth(bench: Bench, console: Console) -> None:
    table = Table("grows with", "engine", "from", "to", "seconds a unit", "constant", "R squared")
    for grown in bench.growth:
        if grown.fit is not None:
            table.add_row(
                grown.axis, grown.engine, f"{grown.points[0].x:g}", f"{grown.points[-1].x:g}",
                f"{grown.fit.slope:.3g}", f"{grown.fit.constant:.3g}", f"{grown.fit.r_squared:.3f}",
            )  # fmt: skip
    if table.row_count:
        console.print(table)


def _targets(bench: Bench, console: Console) -> None:
    table = Table("target", "engine", "measured", "threshold", "")
    for target in bench.targets:
        value = "" if target.value is None else f"{target.value:.3g}"
        table.add_row(target.says, target.engine, value, target.threshold, target.verdict)
    if table.row_count:
        console.print(table)
    for target in bench.targets:
        if target.why:
            console.print(f"{target.target}, {target.engine}: {target.why}", markup=False)
