"""What rows come to: means over pictures, by method, overall and by type."""

from collections.abc import Mapping, Sequence
from typing import Any

from scumble_bench.evaluation.entries import KINDS
from scumble_bench.evaluation.methods import Method
from scumble_bench.evaluation.metrics.averages import mean
from scumble_bench.evaluation.numbers import as_json, from_json
from scumble_bench.work.shelf import FAILURE, Row

__all__ = ["OVERALL", "rows_by_method", "summarised"]

OVERALL = "all"
"""Beside the types."""


def rows_by_method(
    methods: Sequence[Method], pieces: Sequence[Any], rows: Sequence[Row]
) -> dict[str, list[Row]]:
    """Return label -> the rows of that method, in the order of the pieces.

    Args:
        methods: that were asked for.
        pieces: of these, each with the method in its payload.
        rows: of some or all of the pieces.
    """
    labels = {piece.key: piece.payload["method"]["label"] for piece in pieces}
    found: dict[str, list[Row]] = {method.label: [] for method in methods}
    for row in rows:
        found[labels[row["key"]]].append(row)
    return found


def summarised(
    method: Method, rows: Sequence[Row], wanted: int, metrics: Sequence[str]
) -> dict[str, Any]:
    """Return what a method's rows come to, as JSON.

    A metric's mean is over the pictures that have it; how many have not is told beside it. An edit
    that failed is in no mean, and is counted.

    Args:
        method: whose rows these are.
        rows: one for each picture that was done.
        wanted: pictures that there are.
        metrics: names.
    """
    made = [row for row in rows if FAILURE not in row]
    kinds = {row["kind"] for row in made}
    groups = {OVERALL: made} | {
        KINDS[kind]: [row for row in made if row["kind"] == kind] for kind in KINDS if kind in kinds
    }
    return {
        "method": method.as_json(),
        "pictures": len(made),
        "failed": len(rows) - len(made),
        "missing": wanted - len(rows),
        "failures": sorted({row[FAILURE] for row in rows if FAILURE in row}),
        "rows": as_json(mean(row["rows"] for row in made).value),
        "gradients": as_json(mean(row["gradients"] for row in made).value),
        "engines": sorted({row["engine"] for row in made}),
        "means": {name: _means(of, metrics) for name, of in groups.items()},
    }


def _means(rows: Sequence[Row], metrics: Sequence[str]) -> Mapping[str, Any]:
    """Return metric -> mean, how many pictures it is of and how many were left out."""
    found: dict[str, Any] = {"pictures": len(rows)}
    for name in metrics:
        value, of, undefined = mean(from_json(row["metrics"][name]) for row in rows)
        found[name] = {"mean": as_json(value), "pictures": of, "undefined": undefined}
    return found
