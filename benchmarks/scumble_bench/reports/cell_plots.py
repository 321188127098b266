"""The plots of a matrix: ratios to the baseline, absolute times, memory. A cell a line."""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports.style import (
    Plot,
    Theme,
    bare,
    doublings,
    round_numbers,
    shortened,
    titled,
)  # fmt: skip
from scumble_bench.reports.wording import (
    bytes_text,
    cause,
    labels,
    machine,
    seconds_text,
    standing,
    times_text,
)  # fmt: skip

__all__ = ["by_ratio", "memory", "ratios", "times"]

LINE, AROUND = 0.3, 2.0
"""Inches: of a cell's line, and of title and axis together."""
MARKS = {"counts": "o", "disagrees": "X", "unchecked": "D", "failed": ""}


def by_ratio(bench: Bench) -> list[Measured]:
    """Return all cells: the fastest against the baseline first, those that failed last."""

    def key(cell: Measured) -> tuple[bool, bool, float]:
        failed = standing(cell) == "failed"
        return failed, cell.ratio is None, -cell.ratio.median if cell.ratio else 0.0

    return sorted(bench.cells, key=key)


def ratios(bench: Bench) -> Plot | None:
    """Return how many times as fast as the baseline each cell is; None without any ratio."""
    cells = [cell for cell in by_ratio(bench) if cell.ratio or standing(cell) == "failed"]
    if not any(cell.ratio for cell in cells):
        return None
    named, common = labels(bench)

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        bare(axes, [named[cell.name] for cell in cells])
        axes.axvline(1, color=theme.ink, linewidth=1, zorder=1)
        spreads = [cell.ratio for cell in cells]
        _dots(axes, cells, spreads, theme, [times_text(s.median) if s else "" for s in spreads])
        ends = [end for s in spreads if s for end in (s.p10, s.p90)]
        ticks = doublings(min(1.0, *ends), max(1.0, *ends))
        axes.set_xlim(min(ticks[0], *ends) / 1.1, max(ticks[-1], *ends) * 1.35)
        axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
        axes.minorticks_off()
        base = shortened(named.get(bench.baseline, bench.baseline), 44)
        axes.set_xlabel(
            f"times as fast as the baseline (log scale)\nbaseline: {base}\n"
            "median, 10th to 90th percentile of the ratio, round by round"
        )
        titled(axes, "Speed against the baseline", theme, shortened(common, 90))
        _key(figure, axes, cells, theme)

    told = "; ".join(
        f"{cell.name}: {times_text(cell.ratio.median) if cell.ratio else 'failed'}"
        for cell in cells
    )
    told = f"Times as fast as {bench.baseline}. {told}."
    return Plot("ratios", told, (8.6, LINE * len(cells) + AROUND), draw)


def times(bench: Bench) -> Plot | None:
    """Return what each cell took; None where none was timed."""
    cells = [cell for cell in by_ratio(bench) if cell.spread or standing(cell) == "failed"]
    if not any(cell.spread for cell in cells):
        return None
    named, common = labels(bench)

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        bare(axes, [named[cell.name] for cell in cells])
        spreads = [cell.spread for cell in cells]
        _dots(axes, cells, spreads, theme, [seconds_text(s.median) if s else "" for s in spreads])
        ends = [end for s in spreads if s for end in (s.p10, s.p90)]
        ticks = round_numbers(min(ends), max(ends))
        axes.set_xlim(min(ticks[0], *ends) / 1.1, max(ticks[-1], *ends) * 1.5)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel(
            "seconds of one edit (log scale)\nmedian, 10th to 90th percentile"
            f"\non {shortened(machine(bench.provenance), 90)}"
        )
        titled(axes, "Time of one edit", theme, shortened(common, 90))
        _key(figure, axes, cells, theme)

    told = "; ".join(f"{c.name}: {seconds_text(c.spread.median)}" for c in cells if c.spread)
    told = f"Seconds of one edit on {machine(bench.provenance)}. {told}."
    return Plot("times", told, (8.6, LINE * len(cells) + AROUND), draw)


def memory(bench: Bench) -> Plot | None:
    """Return the peak memory of each cell in which it was measured; None if there is none."""
    cells = [(cell, cell.memory) for cell in by_ratio(bench) if cell.memory]
    if not cells:
        return None
    named, common = labels(bench)
    device = any(of.device is not None for _, of in cells)

    def draw(figure: Figure, theme: Theme) -> None:
        axes = figure.subplots()
        bare(axes, [named[cell.name] for cell, _ in cells])
        thick = 0.36 if device else 0.6
        kinds = (("process (RSS)", 0, [of.rss for _, of in cells]),)
        if device:
            kinds += (("device", 1, [of.device for _, of in cells]),)
        for label, index, counts in kinds:
            shift = (index - 0.5) * thick if device else 0
            known = [(row, count) for row, count in enumerate(counts) if count is not None]
            colour = theme.colours[index * 4]
            axes.barh(
                [row + shift for row, _ in known], [count / 2**20 for _, count in known],
                thick * 0.92, color=colour, label=label,
            )  # fmt: skip
            for row, count in known:
                _say(axes, count / 2**20, row + shift, bytes_text(count), theme)
        axes.set_xlim(0, max(max(of.rss, of.device or 0) for _, of in cells) / 2**20 * 1.15)
        axes.set_xlabel("peak memory in MiB, of one run in a process of its own")
        titled(axes, "Peak memory", theme, shortened(common, 60))
        if device:
            axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2)

    told = "; ".join(f"{cell.name}: {bytes_text(of.rss)}" for cell, of in cells)
    height = LINE * (1.5 if device else 1) * len(cells) + AROUND
    return Plot("memory", f"Peak memory of the process. {told}.", (8.6, height), draw)


def _dots(
    axes: Axes,
    cells: Sequence[Measured],
    spreads: Sequence[Range | None],
    theme: Theme,
    figures: Sequence[str],
) -> None:
    """Draw a dot a cell with its whiskers and label; why there is none where it failed."""
    axes.set_xscale("log")
    for row, (cell, spread, label) in enumerate(zip(cells, spreads, figures, strict=True)):
        how = standing(cell)
        if spread is None:
            where = axes.get_yaxis_transform()
            axes.text(
                0.01, row, f"failed: {shortened(cause(cell), 80)}", transform=where,
                va="center", fontsize=8, style="italic", backgroundcolor=theme.ground,
            )  # fmt: skip
            continue
        colour = theme.colours[1 if cell.peer else 0] if how == "counts" else theme.quiet
        axes.plot([spread.p10, spread.p90], [row, row], color=colour, linewidth=1.6, alpha=0.6)
        face = colour if how == "counts" else theme.ground
        axes.plot(
            [spread.median], [row], MARKS[how], color=colour, markerfacecolor=face,
            markersize=6.5, zorder=3,
        )  # fmt: skip
        said = label if how == "counts" else f"{label}, {how}"
        _say(axes, max(spread.p90, spread.median), row, said, theme)


def _say(axes: Axes, x: float, y: float, text: str, theme: Theme) -> None:
    """Write a figure to the right of what it belongs to."""
    axes.annotate(
        text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=8.5, color=theme.ink
    )


def _key(figure: Figure, axes: Axes, cells: Sequence[Measured], theme: Theme) -> None:
    """Say what the colours mean, where there is more than one."""
    names = {
        "Scumble": any(not cell.peer for cell in cells),
        "peer": any(cell.peer and standing(cell) == "counts" for cell in cells),
        "peer, does not count": any(standing(c) in ("disagrees", "unchecked") for c in cells),
    }
    looks = (
        (theme.colours[0], "o", True),
        (theme.colours[1], "o", True),
        (theme.quiet, "X", False),
    )
    for (name, there), (colour, mark, full) in zip(names.items(), looks, strict=True):
        if there:
            face = colour if full else theme.ground
            axes.plot([], [], mark, color=colour, markerfacecolor=face, markersize=6.5, label=name)
    if sum(names.values()) > 1:
        figure.legend(loc="outside lower right", ncols=3, handletextpad=0.1)
