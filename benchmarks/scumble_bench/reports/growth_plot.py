"""The plot of what time grows with: points, their spread, and the line through their medians."""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scumble_bench.latency.records import Bench, Growth
from scumble_bench.reports.style import Plot, Theme, shortened, titled
from scumble_bench.reports.wording import digits, machine, seconds_text

__all__ = ["fitted", "growth"]

COLUMNS = 3
WIDEST = 48  # characters of a law beside its engine


def fitted(one: Growth) -> str:
    """Return a growth's law in words; why there is none where there is none."""
    if one.fit is None:
        return one.failure or "too few points for a line"
    constant, slope = one.fit.constant, one.fit.slope
    sign = "+" if slope >= 0 else "−"
    per = f"{seconds_text(abs(slope))} per {one.unit}"
    start = f"{'−' if constant < 0 else ''}{seconds_text(abs(constant))}"
    return f"{start} {sign} {per}, R² {digits(one.fit.r_squared)}"


def growth(bench: Bench) -> Plot | None:
    """Return a panel for each axis and model; None where nothing was measured."""
    panels: dict[tuple[str, str, str], list[Growth]] = {}
    for one in bench.growth:
        if one.points:
            panels.setdefault((one.axis, one.timed, one.model), []).append(one)
    if not panels:
        return None
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))

    def draw(figure: Figure, theme: Theme) -> None:
        grid = figure.subplots(rows, columns, squeeze=False)
        engines = list(dict.fromkeys(one.engine for one in bench.growth))
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, ((axis, timed, model), of) in zip(grid.flat, panels.items(), strict=False):
            for one in of:
                _line(axes, one, theme.colours[engines.index(one.engine) % len(theme.colours)])
            axes.set_xlim(0, None)
            axes.set_ylim(0, None)
            axes.grid()
            axes.set_xlabel(axis)
            axes.set_ylabel("seconds")
            said = ", ".join(part for part in (shortened(model, 30), timed) if part)
            titled(axes, f"Time against {axis}", theme, said)
            axes.legend(loc="upper left", bbox_to_anchor=(-0.1, -0.18), fontsize=7.5)
            whole = all(point.x == int(point.x) for one in of for point in one.points)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole))
        figure.supxlabel(
            f"median, 10th to 90th percentile; line by least squares; on "
            f"{shortened(machine(bench.provenance), 90)}",
            fontsize=8, color=theme.quiet,
        )  # fmt: skip

    told = "; ".join(
        f"{one.axis}, {one.engine}, {one.model}: {fitted(one)}"
        for of in panels.values()
        for one in of
    )
    return Plot("growth", f"What time grows with. {told}.", (3.7 * columns + 0.6, 3.7 * rows), draw)


def _line(axes: Axes, one: Growth, colour: str) -> None:
    xs = [point.x for point in one.points]
    axes.plot(xs, [point.seconds.median for point in one.points], "o", color=colour, markersize=5)
    for point in one.points:
        axes.plot([point.x] * 2, [point.seconds.p10, point.seconds.p90], color=colour, alpha=0.5)
    # As wide as a panel: a longer one would narrow all of them.
    label = f"{one.engine}: {shortened(fitted(one), WIDEST)}"
    if one.fit is None:
        axes.plot([], [], "o", color=colour, label=label)
        return
    ends = (0.0, max(xs) * 1.05)
    axes.plot(
        ends, [one.fit.constant + one.fit.slope * x for x in ends], color=colour, linewidth=1.2,
        label=label,
    )  # fmt: skip
