"""The Pareto plot: how often an edit is made against what it spares, and what it costs."""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from scumble_bench.reports.labels import Anchor, Box, place
from scumble_bench.reports.points import QualityPoint, front, outline, stairs
from scumble_bench.reports.style import DPI, Plot, Theme, shortened, titled

__all__ = ["pareto_plot", "short", "tasks"]

ROW_AREA = 1.6
"""Square points of a marker's area for each row evaluated."""
FAINT = 0.4
SHAPES = {(False, False): "o", (True, False): "s", (False, True): "D", (True, True): "P"}
"""Whether the true mask was given, whether gradients were taken -> marker."""
SHAPE_NAMES = {
    (True, False): "true mask given",
    (False, True): "takes gradients",
    (True, True): "both of these",
}


def tasks(points: Sequence[QualityPoint]) -> dict[str, list[QualityPoint]]:
    """Return task -> its points that have a place in the plot; most points first."""
    found: dict[str, list[QualityPoint]] = {}
    for point in points:
        if point.psnr is not None:
            found.setdefault(point.task, []).append(point)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def short(label: str) -> str:
    """Return a label as it is written in the plot."""
    return shortened(label.replace("Prompt-to-Prompt", "P2P"), 42)


def pareto_plot(points: Sequence[QualityPoint]) -> Plot | None:
    """Return the plot, a panel a task and the largest on top; None where nothing has a place.

    Raises:
        ValueError: points of one task are of another number of pictures.
    """
    panels = tasks(points)
    if not panels:
        return None
    for task, of in panels.items():
        if len({point.pictures for point in of}) > 1:
            raise ValueError(
                f"the points of task {task!r} are of different pictures; measure all on the same."
            )
    first, *rest = panels

    def draw(figure: Figure, theme: Theme) -> None:
        methods = list(dict.fromkeys(point.method for of in panels.values() for point in of))
        colours = {
            method: theme.colours[index] if index < len(theme.colours) else theme.quiet
            for index, method in enumerate(methods)
        }
        figure.suptitle(
            "Edits made, against what they spare: up and to the right is better, and smaller is "
            "cheaper", x=0.01, ha="left", fontsize=12, fontweight="bold",
        )  # fmt: skip
        grid = figure.add_gridspec(2 if rest else 1, 1, height_ratios=(1.75, 1) if rest else None)
        axes = {first: figure.add_subplot(grid[0])}
        if rest:
            widths = [2.2 if len(panels[task]) > 4 else 1.2 for task in rest]
            below = grid[1].subgridspec(1, len(rest), width_ratios=widths)
            axes |= {task: figure.add_subplot(below[i]) for i, task in enumerate(rest)}
        for task, of in panels.items():
            _panel(axes[task], task, of, colours, theme)
        _legend(figure, points, colours, theme)
        # The layout settles first: labels are placed in pixels.
        figure.set_dpi(DPI)
        FigureCanvasAgg(figure).draw()
        figure.set_layout_engine("none")
        for task, of in panels.items():
            _labels(axes[task], of, theme)

    told = "; ".join(
        f"{point.task}, {point.label}: {point.success:.0%} made, {point.psnr:.1f} dB outside, "
        f"{point.rows:.0f} rows"
        for of in panels.values()
        for point in of
    )
    height = 11.0 if rest else 7.5
    return Plot("pareto", f"Success against what is spared. {told}.", (12.5, height), draw)


def _panel(
    axes: Axes,
    task: str,
    points: Sequence[QualityPoint],
    colours: dict[str, str],
    theme: Theme,
) -> None:
    best = front(points)
    axes.grid()
    told = [point for point in points if not point.masked]
    for of, style in ((points, (0, (4, 3))), (told, "-")):
        border = [(x, 100 * y) for x, y in stairs(outline(of))]
        axes.plot(
            [x for x, _ in border], [y for _, y in border], linestyle=style, color=theme.ink,
            linewidth=1.1, alpha=0.7, zorder=1,
        )  # fmt: skip
    for point in sorted(points, key=lambda point: -point.rows):
        colour = colours[point.method]
        alpha = 1.0 if point in best else FAINT
        low, high = (100 * end for end in point.success_interval)
        x = point.psnr or 0.0
        axes.plot([x, x], [low, high], color=colour, alpha=0.22, linewidth=1, zorder=2)
        axes.scatter(
            [x], [100 * point.success], s=ROW_AREA * point.rows, color=colour,
            alpha=alpha, marker=SHAPES[point.masked, point.gradients > 0], linewidths=0.8,
            edgecolors=theme.ground, zorder=3,
        )  # fmt: skip
    ceilings = [point.ceiling for point in points if point.ceiling is not None]
    if ceilings:
        axes.axvline(max(ceilings), color=theme.quiet, linewidth=1, linestyle=":")
    placed = [point.psnr or 0 for point in points]
    room = max(1.0, max([*placed, *ceilings]) - min(placed))
    axes.set_xlim(min(placed) - 0.12 * room, max([*placed, *ceilings]) + 0.12 * room)
    top = max(point.success_interval[1] for point in points)
    axes.set_ylim(-4, min(104.0, 100 * top + 6))
    axes.set_xlabel("PSNR outside, dB")
    axes.set_ylabel("edits made, %")
    titled(axes, f"Task: {task}", theme, f"{points[0].pictures} pictures")


def _labels(axes: Axes, points: Sequence[QualityPoint], theme: Theme) -> None:
    """Write each point's name beside it, those of the front first."""
    best = front(points)
    order = sorted(points, key=lambda point: point not in best)
    renderer = FigureCanvasAgg(axes.figure.figure).get_renderer()
    per_point = axes.figure.dpi / 72
    texts = [axes.text(0, 0, short(p.label), fontsize=7.5, zorder=4) for p in order]
    anchors: list[Anchor] = []
    for point, text in zip(order, texts, strict=True):
        x, y = axes.transData.transform((point.psnr or 0, 100 * point.success))
        extent = text.get_window_extent(renderer)
        radius = (ROW_AREA * point.rows) ** 0.5 / 2 * per_point
        anchors.append(Anchor(float(x), float(y), radius, extent.width + 2, extent.height + 1))
    within = axes.bbox
    frame = Box(within.x0, within.y0, within.x1, within.y1)
    to_data = axes.transData.inverted()
    boxes = place(anchors, frame, _borders(axes, points))
    for point, text, anchor, box in zip(order, texts, anchors, boxes, strict=True):
        left, bottom = to_data.transform((box.left + 1, box.bottom))
        text.set_position((float(left), float(bottom)))
        text.set_verticalalignment("bottom")
        text.set_color(theme.ink if point in best else theme.quiet)
        nearest = (
            min(max(anchor.x, box.left), box.right),
            min(max(anchor.y, box.bottom), box.top),
        )
        away = ((nearest[0] - anchor.x) ** 2 + (nearest[1] - anchor.y) ** 2) ** 0.5
        if away > anchor.radius + 12:
            ends = to_data.transform([(anchor.x, anchor.y), nearest])
            axes.plot(ends[:, 0], ends[:, 1], color=theme.quiet, linewidth=0.6, zorder=2)


def _borders(axes: Axes, points: Sequence[QualityPoint]) -> list[Box]:
    """Return the lines of the two fronts as thin boxes in pixels."""
    found: list[Box] = []
    for of in (points, [point for point in points if not point.masked]):
        border = [axes.transData.transform((x, 100 * y)) for x, y in stairs(outline(of))]
        for (x, y), (to_x, to_y) in itertools.pairwise(border):
            found.append(
                Box(min(x, to_x) - 1, min(y, to_y) - 1, max(x, to_x) + 1, max(y, to_y) + 1)
            )
    return found


def _legend(
    figure: Figure, points: Sequence[QualityPoint], colours: dict[str, str], theme: Theme
) -> None:
    """Say what colours, shapes, sizes and lines mean."""
    placed = [point for point in points if point.psnr is not None]
    axes = figure.axes[0]
    handles = [axes.scatter([], [], s=50, color=of, label=name) for name, of in colours.items()]
    kinds = {(point.masked, point.gradients > 0) for point in placed}
    handles += [
        axes.scatter([], [], s=50, color=theme.quiet, marker=SHAPES[kind], label=name)
        for kind, name in SHAPE_NAMES.items()
        if kind in kinds
    ]
    most = max(point.rows for point in placed)
    for rows in (20, 80, 200):
        if rows <= 2 * most:
            handles.append(
                axes.scatter(
                    [], [], s=ROW_AREA * rows, facecolors="none", edgecolors=theme.ink,
                    label=f"{rows} rows evaluated",
                )
            )  # fmt: skip
    lines: list[tuple[Any, str]] = [
        ("-", "front of success and PSNR, no mask given"),
        (":", "autoencoder alone"),
    ]
    if any(point.masked for point in placed):
        lines.insert(1, ((0, (4, 3)), "the same, with the true mask"))
    more = [
        axes.plot([], [], linestyle=style, color=theme.ink, linewidth=1.1, label=name)[0]
        for style, name in lines
    ]
    interval = axes.plot([], [], color=theme.ink, alpha=0.22, linewidth=1, label="95 % interval")
    figure.legend(
        handles=[*handles, *more, *interval], loc="outside lower left", ncols=5, alignment="left",
        title="Points of two tasks cannot be compared. Faint: another point of the task is nowhere "
        "worse in success, PSNR, rows and gradients, was told no more, and is better in one.",
        title_fontsize=8,
    )  # fmt: skip
