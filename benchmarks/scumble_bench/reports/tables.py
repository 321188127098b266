"""A bench report as CSV: one table a file, one measurement a line, numbers in full."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports.wording import standing

__all__ = ["TABLES", "csv_bytes", "csv_files"]

Line: TypeAlias = Mapping[str, Any]
TABLES = ("cells", "stages", "variants", "growth", "ceilings", "loading", "targets")


def csv_files(bench: Bench) -> dict[str, bytes]:
    """Return file name -> CSV: cells, stages, variants, growth, ceilings, loading, targets.

    Times are seconds, memory is bytes, ratios are to the baseline. What was not measured is empty.
    A table without a line is left out, but for the cells.
    """
    lines: dict[str, list[Line]] = {
        "cells": [_cell(cell) for cell in bench.cells],
        "stages": [line for cell in bench.cells for line in _stages(cell)],
        "variants": [
            {
                **one.model_dump(exclude={"size", "seconds"}),
                **_size(one.size),
                **_range("seconds", one.seconds),
            }
            for one in bench.variants
        ],
        "growth": _growth(bench),
        "ceilings": [
            {**one.model_dump(exclude={"shape"}), **dict(zip("mkn", one.shape, strict=True))}
            for one in bench.ceilings
        ],
        "loading": [one.model_dump() for one in bench.loading],
        "targets": [
            {**one.model_dump(exclude={"spread"}), **_range("spread", one.spread)}
            for one in bench.targets
        ],
    }
    kept = {name: of for name, of in lines.items() if of or name == "cells"}
    return {f"{name}.csv": csv_bytes(of) for name, of in kept.items()}


def csv_bytes(lines: Iterable[Line]) -> bytes:
    """Return lines as CSV in UTF-8, headed by their common keys; None is empty."""
    rows = list(lines)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    return text.getvalue().encode()


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _cell(cell: Measured) -> Line:
    kept = cell.model_dump(include={"name", "method", "peer", "engine", "precision", "model"})
    return {
        **kept,
        **_size(cell.size),
        "steps": cell.steps,
        "edit": cell.edit,
        "standing": standing(cell),
        **_range("ratio", cell.ratio),
        **_range("seconds", cell.spread),
        "runs": len(cell.seconds),
        "agreement": cell.agreement,
        "tolerance": cell.tolerance,
        "composed": cell.composed,
        **_range("host_share", cell.host_share),
        "rows": cell.rows,
        "gradients": cell.gradients,
        "rss_bytes": cell.memory.rss if cell.memory else None,
        "device_bytes": cell.memory.device if cell.memory else None,
        "failure": cell.failure,
        "notes": " ".join(cell.notes),
        "every_seconds": " ".join(repr(one) for one in cell.seconds),
    }


def _stages(cell: Measured) -> list[Line]:
    return [
        {
            "name": cell.name,
            "stage": one.stage,
            **_range("seconds", one.seconds),
            "calls": one.calls,
            "rows": one.rows,
        }
        for one in cell.stages
    ]


def _growth(bench: Bench) -> list[Line]:
    """Return a line a point; one without points where there are none, so that its failure stays."""
    found: list[Line] = []
    for one in bench.growth:
        named = one.model_dump(include={"axis", "unit", "engine", "model"})
        fit = {
            "constant": one.fit.constant if one.fit else None,
            "slope": one.fit.slope if one.fit else None,
            "r_squared": one.fit.r_squared if one.fit else None,
            "failure": one.failure,
        }
        for point in one.points or (None,):
            x = point.x if point else None
            seconds = point.seconds if point else None
            found.append({**named, "x": x, **_range("seconds", seconds), **fit})
    return found


def _size(size: tuple[int, int]) -> Line:
    return {"height": size[0], "width": size[1]}


def _range(name: str, spread: Range | None) -> Line:
    return {
        f"{name}_{part}": getattr(spread, part) if spread else None
        for part in ("median", "p10", "p90")
    }
