"""The plot of where the time of an edit goes: its stages in a row, in seconds and in shares."""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from scumble_bench.latency.records import Bench, Measured
from scumble_bench.reports.cell_plots import by_ratio
from scumble_bench.reports.style import Plot, Theme, bare, shortened, titled
from scumble_bench.reports.wording import labels, machine, seconds_text

__all__ = ["stage_colours", "stage_order", "stages"]

SAMPLING = "sampling"
ORDER = ("text", "encode", "inversion", SAMPLING, "decode", "host")
COLOURS = {"text": 5, "encode": 2, "inversion": 4, SAMPLING: 0, "decode": 3, "host": 1}
"""Stage -> which colour of the theme."""
KEY = 130
"""Characters of stages side by side in the key."""


def stages(bench: Bench) -> Plot | None:
    """Return each cell's stages; None where no cell was split."""
    cells = [cell for cell in by_ratio(bench) if cell.stages]
    if not cells:
        return None
    named, common = labels(bench)
    names = stage_order(one.stage for cell in cells for one in cell.stages)

    def draw(figure: Figure, theme: Theme) -> None:
        seconds, shares = figure.subplots(1, 2, sharey=True)
        colours = stage_colours(names, theme)
        _stack(seconds, cells, names, colours, theme, shares=False)
        _stack(shares, cells, names, colours, theme, shares=True)
        bare(seconds, [named[cell.name] for cell in cells])
        shares.spines["left"].set_visible(False)
        shares.tick_params(axis="y", length=0)
        shares.grid(axis="x")
        seconds.set_xlabel(
            "seconds of one edit: medians, and a line for the whole"
            f"\non {shortened(machine(bench.provenance), 50)}"
        )
        shares.set_xlabel("share of its stages, %")
        shares.set_xlim(0, 100)
        titled(seconds, "Where the time goes", theme, shortened(common, 90))
        handles, labels = seconds.get_legend_handles_labels()
        columns = max(1, min(len(labels), KEY // max(map(len, labels))))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)

    told = "; ".join(
        f"{cell.name}: "
        + ", ".join(f"{one.stage} {seconds_text(one.seconds.median)}" for one in cell.stages)
        for cell in cells
    )
    told = f"Median seconds of each stage of an edit. {told}."
    return Plot("stages", told, (10.5, 0.34 * len(cells) + 2.1), draw)


def stage_order(names: Iterable[str]) -> list[str]:
    """Return stages in the order of an edit, each once; those not known come last."""

    def key(name: str) -> tuple[int, str]:
        kind = name.split(":")[0]
        return (ORDER.index(kind) if kind in ORDER else len(ORDER)), name

    return sorted(set(names), key=key)


def stage_colours(names: Sequence[str], theme: Theme) -> dict[str, tuple[float, float, float]]:
    """Return a colour for each stage; those of sampling are shades of one."""
    shades = [name for name in names if name.split(":")[0] == SAMPLING]
    ground = to_rgb(theme.ground)
    found: dict[str, tuple[float, float, float]] = {}
    for name in names:
        kind = name.split(":")[0]
        full = to_rgb(theme.colours[COLOURS[kind]] if kind in COLOURS else theme.quiet)
        # From the full colour to a third of it.
        kept = 1.0
        if len(shades) > 1 and name in shades:
            kept -= 0.66 * shades.index(name) / (len(shades) - 1)
        one, two, three = (kept * a + (1 - kept) * b for a, b in zip(full, ground, strict=True))
        found[name] = (one, two, three)
    return found


def _stack(
    axes: Axes,
    cells: Sequence[Measured],
    names: Sequence[str],
    colours: dict[str, tuple[float, float, float]],
    theme: Theme,
    *,
    shares: bool,
) -> None:
    """Draw a bar a cell, its stages one after the other from zero."""
    for row, cell in enumerate(cells):
        took = {one.stage: one.seconds.median for one in cell.stages}
        whole = sum(took.values())
        scale = 100 / whole if shares and whole else 1.0
        begins = 0.0
        for name in names:
            length = took.get(name, 0.0) * scale
            axes.barh(
                row, length, 0.7, left=begins, color=colours[name], linewidth=0.4,
                edgecolor=theme.ground, label=name if row == 0 and not shares else None,
            )  # fmt: skip
            if shares and length >= 9:
                red, green, blue = colours[name]
                dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
                axes.text(
                    begins + length / 2, row, f"{length:.0f}", ha="center", va="center",
                    fontsize=8, color="white" if dark else "black",
                )  # fmt: skip
            begins += length
        if not shares and cell.spread:
            middle = cell.spread.median
            axes.plot([middle, middle], [row - 0.42, row + 0.42], color=theme.ink, linewidth=1.3)
