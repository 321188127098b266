"""What the rooms benchmark came to: a row a method and task, its table, and its Pareto points."""

from collections.abc import Mapping, Sequence
from typing import Any

from scumble.plugins import load_class
from scumble_bench.evaluation.methods import brings_inversion
from scumble_bench.evaluation.tables import Lines
from scumble_bench.reports.points import QualityPoint
from scumble_bench.rooms.methods.report import COLUMNS, cell, row_report
from scumble_bench.rooms.methods.rows import GENERATED, Row
from scumble_bench.work.shelf import FAILURE

__all__ = ["points_of", "reported", "task_table"]

NOTHING = "–"


def reported(row: Row, done: Sequence[Mapping[str, Any]], wanted: int) -> dict[str, Any]:
    """Return what a row's edits came to: means, intervals and every value; failures with causes.

    Args:
        row: whose edits these are.
        done: rows of the shelf.
        wanted: edits that there are.
    """
    made = [one for one in done if FAILURE not in one]
    facts: dict[str, Any] = {
        "failed": len(done) - len(made),
        "missing": wanted - len(done),
        "failures": sorted({one[FAILURE] for one in done if FAILURE in one}),
        "engine": made[0]["engine"] if made else None,
    }
    if not made:
        return {**row.as_json(), "edits": 0, "mean": {}, "interval": {}, "values": {}, **facts}
    return row_report(row.as_json(), [one["values"] for one in made], facts)


def task_table(rows: Sequence[Mapping[str, Any]], task: str) -> Lines:
    """Return the table of a task: a line a row, a column for each measure that any row has."""
    mine = [row for row in rows if row["task"] == task]
    shown = [name for name in COLUMNS if any(name in row["mean"] for row in mine)]
    lines: Lines = [["method", "edits", *(COLUMNS[name] for name in shown)]]
    for row in mine:
        told = [f"({row[name]} {name})" for name in ("failed", "missing") if row[name]]
        means = [
            cell(name, row["mean"][name]) if name in row["mean"] else NOTHING for name in shown
        ]
        lines.append([row["name"], " ".join([str(row["edits"]), *told]), *means])
    return lines


def points_of(rows: Sequence[Mapping[str, Any]]) -> list[QualityPoint]:
    """Return the points of the rows that made every edit: only those compare the same pictures."""
    whole = [row for row in rows if row["edits"] and not row["failed"] and not row["missing"]]
    return [_point(row) for row in whole]


def _point(row: Mapping[str, Any]) -> QualityPoint:
    mean, interval = row["mean"], row["interval"]
    return QualityPoint(
        label=row["name"],
        task=row["task"],
        method=row["method"] or "none",
        inversion=_inversion(row),
        masked=row["masked"],
        success=mean["success"],
        success_interval=tuple(interval["success"]),
        psnr=mean.get("psnr"),
        psnr_interval=tuple(interval["psnr"]) if "psnr" in interval else None,
        ceiling=mean.get("vae_psnr"),
        rows=mean["rows"],
        gradients=mean["gradients"],
        pictures=row["edits"],
        engine=row["engine"],
    )


def _inversion(row: Mapping[str, Any]) -> str | None:
    if row["task"] in GENERATED or row["method"] is None:
        return None
    return None if brings_inversion(load_class(row["method"])[1]) else row["inversion"]
