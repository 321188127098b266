"""The points of the committed results: every method and inversion measured on the demo world.

Three files ask the same of the same scenes, but not of as many. What they have in common is taken
from each, so that the points of a task are of the same pictures; intervals are taken anew. Of the
tasks only `colour` was asked of every method and inversion that edits a picture.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.plugins import load_class
from scumble.requests import EditRequest
from scumble_bench.evaluation.methods import brings_inversion
from scumble_bench.reports.points import QualityPoint
from scumble_bench.rooms.inversions import TASKS
from scumble_bench.rooms.methods.claims import interval
from scumble_bench.rooms.methods.rows import GENERATED, cases_of

__all__ = ["FILES", "points_from_results"]

FILES = ("methods.json", "baselines.json", "inversions.json")
"""Tasks that begin from a seed: there is no picture to invert."""
RECONSTRUCTION = "reconstruction"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a file.

    Attributes:
        point: with the figures of the file.
        seeds: of the scenes that were edited.
        values: measure -> its value of each.
    """

    point: QualityPoint
    seeds: Sequence[str]
    values: Mapping[str, Sequence[float]]

    def of(self, measure: str, seeds: Sequence[str]) -> list[float]:
        """Return the values of a measure for some scenes; none where it was not taken."""
        if measure not in self.values:
            return []
        known = dict(zip(self.seeds, self.values[measure], strict=True))
        return [known[seed] for seed in seeds]


def points_from_results(folder: Path) -> list[QualityPoint]:
    """Return a point for each edit that was measured: methods, then baselines, then inversions.

    The same measurement under two names becomes one point that tells both. A reconstruction edits
    nothing and is left out.

    Args:
        folder: with methods.json, baselines.json and inversions.json.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: two files have no scene of a task in common.
    """
    rows = [
        *_methods(_read(folder / FILES[0])),
        *_baselines(_read(folder / FILES[1])),
        *_inversions(_read(folder / FILES[2])),
    ]
    shared = {task: _shared(task, rows) for task in dict.fromkeys(row.point.task for row in rows)}
    return _merged([(row, shared[row.point.task]) for row in rows])


def _read(path: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))


def _methods(report: Mapping[str, Any]) -> Iterator[_Row]:
    for row in report["rows"]:
        task, method = row["task"], row["method"] or "none"
        inversion = None if task in GENERATED else row["inversion"]
        named = {"label": row["name"], "task": task, "method": method, "inversion": inversion}
        seeds = report["cases"][cases_of(task)]["seeds"]
        yield _row(row, seeds, {**named, "engine": row["engine"], "origin": FILES[0]})


def _baselines(report: Mapping[str, Any]) -> Iterator[_Row]:
    usual = EditRequest.model_fields["inversion"].default
    for row in report["rows"]:
        _, kind = load_class(row["method"])
        inversion = None if brings_inversion(kind) else row["asked"].get("inversion", usual)
        named = {"label": row["name"], "method": row["method"], "inversion": inversion}
        facts = {"task": "colour", "engine": row["engine"], "origin": FILES[1]}
        yield _row(row, report["cases"]["seeds"], named | facts)


def _inversions(report: Mapping[str, Any]) -> Iterator[_Row]:
    titles = {"prompt_to_prompt": "Prompt-to-Prompt", "masactrl": "MasaCtrl"}
    for row in report["rows"]:
        task = row["task"]
        if task == RECONSTRUCTION:
            continue
        kind, method, _ = TASKS[task]
        label = f"{titles[method]} + {row['name']}"
        named = {"label": label, "task": kind, "method": method, "inversion": row["inversion"]}
        facts = {"engine": report["engine"], "origin": FILES[2]}
        yield _row(row, report["cases"][kind]["seeds"], named | facts)


def _row(row: Mapping[str, Any], seeds: str, named: Mapping[str, Any]) -> _Row:
    mean = row["mean"]
    point = QualityPoint(
        **named,
        masked=row.get("masked", False),
        success=mean["success"],
        success_interval=tuple(row["interval"]["success"]),
        rows=mean["rows"],
        gradients=mean["gradients"],
        pictures=row["edits"],
    )
    values = {name: [float(one) for one in of.split()] for name, of in row["values"].items()}
    return _Row(point, seeds.split(), values)


def _shared(task: str, rows: Sequence[_Row]) -> list[str]:
    """Return the scenes that every row of a task edited, in their order."""
    of = [row for row in rows if row.point.task == task]
    shared = [seed for seed in of[0].seeds if all(seed in row.seeds for row in of)]
    if not shared:
        raise ValueError(
            f"the rows of task {task!r} have no scene in common; measure them again together."
        )
    return shared


def _merged(rows: Sequence[tuple[_Row, Sequence[str]]]) -> list[QualityPoint]:
    """Return the points on their shared scenes, those of one measurement as one."""
    found: dict[tuple[Any, ...], QualityPoint] = {}
    for row, seeds in rows:
        point = _on(row, seeds)
        key = (
            *(point.task, point.method, point.inversion, point.masked),
            *(tuple(row.of(name, seeds)) for name in ("success", "psnr", "rows", "gradients")),
        )
        known = found.get(key)
        if known is None:
            found[key] = point
        else:
            found[key] = known.model_copy(update={"also": (*known.also, point.label)})
    return list(found.values())


def _on(row: _Row, seeds: Sequence[str]) -> QualityPoint:
    """Return a row's point, with the figures of some scenes."""
    success, psnr, ceiling = (row.of(name, seeds) for name in ("success", "psnr", "vae_psnr"))
    figures = {
        "success": float(np.mean(success)),
        "success_interval": interval(success),
        "psnr": float(np.mean(psnr)) if psnr else None,
        "psnr_interval": interval(psnr) if psnr else None,
        "ceiling": float(np.mean(ceiling)) if ceiling else None,
        "rows": float(np.mean(row.of("rows", seeds))),
        "gradients": float(np.mean(row.of("gradients", seeds))),
        "pictures": len(seeds),
    }
    return row.point.model_copy(update=figures)
