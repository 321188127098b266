"""The results as tables: a row a method, with the published rows beside it; CSV and Markdown."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scumble_bench.evaluation.metrics.metric import METRICS
from scumble_bench.evaluation.numbers import from_json
from scumble_bench.evaluation.published import PUBLISHED
from scumble_bench.evaluation.summary import OVERALL
from scumble_bench.work.shelf import FAILURE, Row

__all__ = ["Lines", "by_type", "csv_of", "markdown", "overall"]

Lines = list[list[str]]
"""Headings first, then a line a row."""

NOTHING = "–"


def overall(summary: Mapping[str, Any]) -> Lines:
    """Return the main table: what was measured, then the published rows that it belongs to.

    Beside a mean stands in brackets how many pictures it leaves out, the metric not being defined
    for them.
    """
    metrics: list[str] = summary["metrics"]
    labels = [METRICS[name].label for name in metrics]
    lines: Lines = [["method", "pictures", *labels, "rows", "gradients"]]
    for row in summary["rows"]:
        means = row["means"][OVERALL]
        cells = [_cell(name, means[name]) for name in metrics]
        cost = [_number(from_json(row[name]), 0) for name in ("rows", "gradients")]
        lines.append([row["method"]["label"], _pictures(row), *cells, *cost])
    wanted = {tuple(row["method"]["published"] or ()) for row in summary["rows"]}
    for row in PUBLISHED:
        if row.preset in wanted:
            cells = [f"{row.scaled[name]:.2f}" for name in metrics]
            lines.append([row.label, "700", *cells, NOTHING, NOTHING])
    return lines


def by_type(summary: Mapping[str, Any], label: str) -> Lines:
    """Return the table of one method, a line a type."""
    metrics: list[str] = summary["metrics"]
    (row,) = [row for row in summary["rows"] if row["method"]["label"] == label]
    lines: Lines = [["type", "pictures", *(METRICS[name].label for name in metrics)]]
    for name, means in row["means"].items():
        cells = [_cell(metric, means[metric]) for metric in metrics]
        lines.append([name, str(means["pictures"]), *cells])
    return lines


def markdown(lines: Lines) -> str:
    """Return lines as a table of Markdown."""
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))


def csv_of(rows: Mapping[str, Sequence[Row]], metrics: Sequence[str]) -> str:
    """Return a line a picture; a value that is not defined is `nan`, that of a failure empty.

    Args:
        rows: label -> rows.
        metrics: names.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    facts = ("entry", "kind", "picture", "rows", "gradients", "engine")
    writer.writerow(["key", "method", *facts, *metrics, FAILURE])
    for label, of in rows.items():
        for row in of:
            values = row.get("metrics", {})
            cells = [from_json(values[name]) if values else "" for name in metrics]
            told = [row.get(name, "") for name in facts]
            writer.writerow([row["key"], label, *told, *cells, row.get(FAILURE, "")])
    return text.getvalue()


def _pictures(row: Mapping[str, Any]) -> str:
    """Return how many pictures a row is of, and what keeps it from being all."""
    told = [f"{row[name]} {name}" for name in ("failed", "missing") if row[name]]
    return " ".join([str(row["pictures"]), *(f"({one})" for one in told)])


def _cell(metric: str, mean: Mapping[str, Any]) -> str:
    value = _number(from_json(mean["mean"]) * METRICS[metric].scale, 2)
    return f"{value} ({mean['undefined']} n/a)" if mean["undefined"] else value


def _number(value: float, digits: int) -> str:
    return NOTHING if math.isnan(value) else f"{value:.{digits}f}"
