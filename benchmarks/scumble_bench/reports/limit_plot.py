"""The plot of variants against the limits of the device: fraction of peak, and the roofline.

Williams, Waterman, Patterson 2009, "Roofline": at so many FLOPs a byte, a device does no more than
the smaller of its peak and its bandwidth times that.
"""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scumble_bench.latency.records import Bench, Ceiling, VariantCost
from scumble_bench.reports.style import Plot, Theme, bare, round_numbers, titled
from scumble_bench.reports.wording import digits

__all__ = ["limits", "roof", "told_apart"]

GIGA = 1e9


def told_apart(variants: Sequence[VariantCost]) -> tuple[list[str], str]:
    """Return a name for each variant of what differs between them, and what all have in common."""
    parts = [
        (
            one.variant,
            f"{one.rows} row{'' if one.rows == 1 else 's'}",
            f"{one.size[0]}×{one.size[1]}",
            f"{one.engine} {one.precision}",
            one.model,
        )
        for one in variants
    ]
    # The variant is told even where all are of one.
    differ = [place == 0 or len(set(of)) > 1 for place, of in enumerate(zip(*parts, strict=True))]
    names = [
        ", ".join(part for part, differs in zip(of, differ, strict=True) if differs) for of in parts
    ]
    common = [part for part, differs in zip(parts[0], differ, strict=True) if not differs]
    return names, ", ".join(common)


def roof(ceiling: Ceiling, intensity: float) -> float:
    """Return the FLOPs a second that a device allows at so many FLOPs a byte."""
    return min(ceiling.flops_per_second, ceiling.bytes_per_second * intensity)


def limits(bench: Bench) -> Plot | None:
    """Return fraction of peak and roofline side by side; None where no variant was timed."""
    variants = [one for one in bench.variants if one.fraction_of_peak is not None]
    if not variants:
        return None

    def draw(figure: Figure, theme: Theme) -> None:
        bars, roofs = figure.subplots(1, 2, width_ratios=(1, 1.1))
        _bars(bars, variants, theme)
        _roofs(roofs, bench.ceilings, variants, theme)

    shares = zip(told_apart(variants)[0], variants, strict=True)
    told = "; ".join(f"{name}: {one.fraction_of_peak or 0:.0%}" for name, one in shares)
    told = f"Fraction of the measured peak that each variant reaches. {told}."
    return Plot("limits", told, (11.5, max(3.6, 0.3 * len(variants) + 1.5)), draw)


def _colours(variants: Sequence[VariantCost], theme: Theme) -> dict[tuple[str, str], str]:
    """Return a colour for each engine and precision, the same in both halves."""
    kinds = dict.fromkeys((one.engine, one.precision) for one in variants)
    return {kind: theme.colours[index % len(theme.colours)] for index, kind in enumerate(kinds)}


def _bars(axes: Axes, variants: Sequence[VariantCost], theme: Theme) -> None:
    names, common = told_apart(variants)
    bare(axes, names)
    for row, one in enumerate(variants):
        share = 100 * (one.fraction_of_peak or 0)
        axes.barh(row, share, 0.62, color=_colours(variants, theme)[one.engine, one.precision])
        bound = f", {one.bound}-bound" if one.bound else ""
        axes.annotate(
            f"{digits(share, 2)} %{bound}", (share, row), (4, 0), textcoords="offset points",
            va="center", fontsize=8.5,
        )  # fmt: skip
    axes.set_xlim(0, max(100.0, *(160 * (one.fraction_of_peak or 0) for one in variants)))
    axes.set_xlabel("% of the fastest matrix product measured")
    titled(axes, "Fraction of peak", theme, common)


def _roofs(
    axes: Axes, ceilings: Sequence[Ceiling], variants: Sequence[VariantCost], theme: Theme
) -> None:
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("FLOPs a byte, at least (log scale)")
    axes.set_ylabel("GFLOP/s (log scale)")
    axes.grid()
    colours = _colours(variants, theme)
    placed = [
        (one, one.flops / one.bytes, one.flops / one.seconds.median / GIGA)
        for one in variants
        if one.flops and one.bytes and one.seconds
    ]
    knees = [one.flops_per_second / one.bytes_per_second for one in ceilings]
    reach = [*(x for _, x, _ in placed), *knees]
    if not reach:
        axes.set_axis_off()
        return
    for place, ceiling in enumerate(ceilings):
        colour = colours.get((ceiling.engine, ceiling.precision), theme.quiet)
        knee = ceiling.flops_per_second / ceiling.bytes_per_second
        xs = (min(reach) / 3, knee, max(reach) * 6)
        axes.plot(xs, [roof(ceiling, x) / GIGA for x in xs], color=colour, linewidth=1.5)
        axes.annotate(
            f"{ceiling.engine} {ceiling.precision}: {digits(ceiling.flops_per_second / GIGA)} "
            f"GFLOP/s, {digits(ceiling.bytes_per_second / GIGA)} GB/s",
            # Below one another, clear of all lines: peaks of two engines are often the same.
            (1, 1), (0, -4 - 12 * place), xycoords="axes fraction", textcoords="offset points",
            ha="right", va="top", fontsize=8, color=colour,
        )  # fmt: skip
    shapes = "osD^vP*X<>hd"
    of = list(dict.fromkeys(one.variant for one in variants))
    for one, x, y in placed:
        colour = colours[one.engine, one.precision]
        mark = shapes[of.index(one.variant) % len(shapes)]
        axes.plot([x], [y], mark, color=colour, markersize=6.5, markeredgecolor=theme.ground)
    for name in of:
        mark = shapes[of.index(name) % len(shapes)]
        axes.plot([], [], mark, color=theme.quiet, label=name)
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.16), ncols=4)
    heights = [*(y for _, _, y in placed), *(roof(one, reach[0]) / GIGA for one in ceilings)]
    peaks = [one.flops_per_second / GIGA for one in ceilings]
    across = round_numbers(min(reach) / 3, max(reach) * 6)
    up = round_numbers(min(heights) / 2, max(*heights, *peaks) * 2)
    axes.set_xticks(across, [f"{tick:g}" for tick in across])
    axes.set_yticks(up, [f"{tick:g}" for tick in up])
    axes.minorticks_off()
    titled(axes, "Roofline", theme, "lines: the device's limit; marks: measured")
