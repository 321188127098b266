"""What time grows with: rows, pixels, steps, hooked sites, and edits of one picture.

Each axis is a handful of points, timed interleaved, and a straight line through their medians. A
plan changes ports and no graph, so time is expected not to grow with hooked sites at all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from scumble import Editor
from scumble.arrays import Array
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.interleaving import Cell, cause_of, interleave
from scumble_bench.latency.neutral_steps import neutral_ports, neutral_step
from scumble_bench.latency.records import Fit, Growth, Point, Range

__all__ = ["AXES", "Axis", "GrowthPlan", "fit", "hooked_ports", "measure_growth"]

Axis: TypeAlias = Literal["rows", "pixels", "steps", "hooked sites", "edits of one picture"]
AXES: tuple[Axis, ...] = get_args(Axis)
UNITS: Mapping[Axis, tuple[str, str]] = {
    "rows": ("row", "a plain step"),
    "pixels": ("pixel", "a plain step of one row"),
    "steps": ("step", "a first edit"),
    "hooked sites": ("site", "a routed step of three rows"),
    "edits of one picture": ("edit", "all of them, the first included"),
}
"""The unit of each axis, and what is timed."""
OF_STEPS: frozenset[Axis] = frozenset({"rows", "pixels", "hooked sites"})
"""Axes along which a single UNet step is timed, each after one like it."""
ROWS = 3


@dataclass(frozen=True, slots=True)
class GrowthPlan:
    """Where each axis is measured.

    Attributes:
        rows: of a plain step.
        scales: of the native side, for pictures; rounded to what the UNet can halve.
        steps: of a first edit.
        edits: of one picture, counted from the first.
        edit_steps: of each of those edits.
        rounds: timed runs of each point.
    """

    rows: tuple[int, ...] = (1, 2, 3, 4, 6, 8)
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.5, 2.0)
    steps: tuple[int, ...] = (5, 10, 20, 40)
    edits: tuple[int, ...] = (1, 2, 3, 4)
    edit_steps: int = 20
    rounds: int = 5


def measure_growth(
    editor: Editor, model: str, axes: Iterable[Axis] = AXES, plan: GrowthPlan | None = None
) -> tuple[Growth, ...]:
    """Return how an editor's time grows along each axis.

    Args:
        editor: with the model and engine.
        model: as it was named.
        axes: to measure.
        plan: where; None takes the defaults.
    """
    chosen = plan or GrowthPlan()
    makers: Mapping[Axis, Callable[[Editor, GrowthPlan], Mapping[float, Callable[[], object]]]] = {
        "rows": _rows,
        "pixels": _pixels,
        "steps": _steps,
        "hooked sites": _sites,
        "edits of one picture": _edits,
    }
    found: list[Growth] = []
    for axis in axes:
        given: dict[str, Any] = {
            "axis": axis,
            "unit": UNITS[axis][0],
            "timed": UNITS[axis][1],
            "engine": editor.session.engine.name,
            "model": model,
        }
        # Whatever hinders one axis is reported as the reason, and the others go on.
        try:
            found.append(_measured(given, makers[axis](editor, chosen), chosen.rounds))
        except Exception as error:  # as said above
            found.append(Growth(**given, points=(), failure=cause_of(error)))
    return tuple(found)


def fit(points: Sequence[Point]) -> Fit | None:
    """Return the line of least squares through the medians; None with fewer than three points."""
    if len(points) < 3:
        return None
    x = np.array([point.x for point in points])
    y = np.array([point.seconds.median for point in points])
    slope, constant = np.polyfit(x, y, 1)
    left = float(np.square(y - (constant + slope * x)).sum())
    whole = float(np.square(y - y.mean()).sum())
    # Of points of one height the line explains all that there is.
    r_squared = 1.0 if whole == 0 else 1 - left / whole
    return Fit(constant=float(constant), slope=float(slope), r_squared=r_squared)


def hooked_ports(editor: Editor, count: int) -> dict[str, object]:
    """Return the ports of a routed step in which so many attention sites are edited, first ones.

    At a self site the second row takes the first's queries and keys, at a cross site its maps.

    Args:
        editor: with the model and engine.
        count: of self- and cross-attention sites together.
    """
    ports = neutral_ports(editor, ("route", "mix"), ROWS)
    sites = editor.session.info.sites
    routes, gates = cast("Array", ports["route"]), cast("Array", ports["mix.sites"])
    ports["mix.row"] = np.array([0, 0, *range(2, ROWS)], dtype=np.int64)
    for site in [site for site in sites if site.kind != "resnet"][:count]:
        if site.kind == "self":
            routes[site.index, :2, 1] = 0
        else:
            gates[site.index, 1] = 1
    return ports


def _measured(
    given: Mapping[str, Any], runs: Mapping[float, Callable[[], object]], rounds: int
) -> Growth:
    alone = given["axis"] in OF_STEPS
    cells = [Cell(f"{x:g}", run, run if alone else None) for x, run in runs.items()]
    done = interleave(*cells, rounds=rounds)
    points: list[Point] = []
    for x in runs:
        seconds = Range.of(done.timings[f"{x:g}"].seconds)
        if seconds is not None:
            points.append(Point(x=x, seconds=seconds))
    failed = {name: one.failure for name, one in done.timings.items() if one.failure is not None}
    first = next(iter(failed.items()), None)
    # One cause, for they are mostly alike: a pack has one size, a device so much memory.
    why = first and (
        f"{len(failed)} of {len(runs)} points are missing; {first[0]}: {first[1]}"
        if len(failed) > 1
        else f"{first[0]}: {first[1]}"
    )
    return Growth(**given, points=tuple(points), fit=fit(points), failure=why)


def _rows(editor: Editor, plan: GrowthPlan) -> dict[float, Callable[[], object]]:
    most = editor.session.engine.most_rows
    fitting = [rows for rows in plan.rows if most is None or rows <= most]
    return {rows: neutral_step(editor, (), rows) for rows in fitting}


def _pixels(editor: Editor, plan: GrowthPlan) -> dict[float, Callable[[], object]]:
    info = editor.session.info
    coarsest = max(site.stride for site in info.sites)
    native = info.sites.native
    runs: dict[float, Callable[[], object]] = {}
    for scale in plan.scales:
        height, width = (
            max(1, round(side * scale / coarsest)) * coarsest * info.factor for side in native
        )
        runs[height * width] = neutral_step(editor, (), 1, (height, width))
    return runs


def _steps(editor: Editor, plan: GrowthPlan) -> dict[float, Callable[[], object]]:
    picture = unseen()

    def run(edit: TimedEdit) -> Callable[[], object]:
        return lambda: editor.edit(picture(), **edit.arguments)

    return {steps: run(TimedEdit(steps)) for steps in plan.steps}


def _sites(editor: Editor, plan: GrowthPlan) -> dict[float, Callable[[], object]]:
    sites = editor.session.info.sites
    every = sites.count("self") + sites.count("cross")
    counts = sorted({round(every * share / 4) for share in range(5)})
    engine = editor.session.engine

    def run(ports: Mapping[str, object]) -> Callable[[], object]:
        return lambda: engine.step(ports)

    return {count: run(hooked_ports(editor, count)) for count in counts}


def _edits(editor: Editor, plan: GrowthPlan) -> dict[float, Callable[[], object]]:
    picture, edit = unseen(), TimedEdit(plan.edit_steps)

    def run(count: int) -> Callable[[], object]:
        def edits() -> None:
            known = picture()
            for _ in range(count):
                editor.edit(known, **edit.arguments)

        return edits

    return {count: run(count) for count in plan.edits}
