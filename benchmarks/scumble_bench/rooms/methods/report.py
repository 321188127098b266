"""The file of the table, and the table as it is printed; what a stopped run had done is kept."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from scumble_bench.latency.report import write_report
from scumble_bench.rooms.methods.claims import CLAIMS, interval, judged

__all__ = [
    "COLUMNS",
    "Unfinished",
    "cell",
    "claims_of",
    "markdown_of",
    "print_report",
    "row_report",
]

DIGITS = 4
COLUMNS = {
    "drawn": "drawn",
    "success": "success",
    "pose": "pose",
    "identity": "same",
    "box_iou": "box IoU",
    "structure": "structure",
    "mask_iou": "mask IoU",
    "psnr": "PSNR",
    "vae_psnr": "VAE",
    "ssim": "SSIM",
    "rows": "rows",
    "gradients": "gradients",
}
"""Measure -> its heading, in the order of tables."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Rows that a run has done, in a file of their own until all are.

    Attributes:
        path: of the file.
        key: what the rows depend on beside themselves; rows under another key are not taken.
    """

    path: Path
    key: Mapping[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows that were done under this key."""
        if not self.path.is_file():
            return []
        found = cast("dict[str, Any]", json.loads(self.path.read_text(encoding="utf-8")))
        return found["rows"] if found["key"] == dict(self.key) else []

    def keep(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows that are done."""
        write_report(self.path, {"key": dict(self.key), "rows": list(rows)})

    def remove(self) -> None:
        """Remove the file: all is done."""
        self.path.unlink(missing_ok=True)


def row_report(
    row: Mapping[str, Any], values: Sequence[Mapping[str, float]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what the file holds of a row.

    Args:
        row: as JSON.
        values: measure -> value of each edit; all have the same measures.
        facts: what else is to be told: engine, commit, date.
    """
    by_measure = {name: [float(one[name]) for one in values] for name in values[0]}
    return {
        **row,
        "edits": len(values),
        "mean": {name: round(float(np.mean(of)), DIGITS) for name, of in by_measure.items()},
        "interval": {
            name: [round(end, DIGITS) for end in interval(of)] for name, of in by_measure.items()
        },
        **facts,
        # Each in one line of the file, which otherwise would have a line a number.
        "values": {
            name: " ".join(f"{value:.{DIGITS}f}".rstrip("0").rstrip(".") for value in of)
            for name, of in by_measure.items()
        },
    }


def claims_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return every claim whose two rows were measured, with its verdict."""
    values = {
        (row["task"], row["name"]): {
            name: [float(one) for one in of.split()] for name, of in row["values"].items()
        }
        for row in rows
    }
    return [
        judged(claim, values[claim.task, claim.row], values[claim.task, claim.than])
        for claim in CLAIMS
        if (claim.task, claim.row) in values and (claim.task, claim.than) in values
    ]


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print the rows and the claims."""
    for task in dict.fromkeys(row["task"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["task"] == task]
        shown = [name for name in COLUMNS if name in rows[0]["mean"]]
        table = Table(title=f"{task}: {rows[0]['edits']} edits, {report['steps']} steps")
        for heading in ("method", *(COLUMNS[name] for name in shown)):
            table.add_column(heading)
        for row in rows:
            table.add_row(row["name"], *(cell(name, row["mean"][name]) for name in shown))
        console.print(table)
    claims = Table(title="What the papers claim")
    for heading in ("claim", "measure", "row", "other", "difference", "95 %", "verdict"):
        claims.add_column(heading)
    for claim in report["claims"]:
        name = claim["measure"]
        measured = [cell(name, value) for value in claim["measured"]]
        ends = " to ".join(cell(name, end) for end in claim["interval"])
        apart = cell(name, claim["difference"])
        claims.add_row(claim["said"], COLUMNS[name], *measured, apart, ends, claim["verdict"])
    console.print(claims)


def markdown_of(report: Mapping[str, Any]) -> str:
    """Return the rows and the claims as Markdown, for the guide."""
    parts: list[str] = []
    for task in dict.fromkeys(row["task"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["task"] == task]
        shown = [name for name in COLUMNS if name in rows[0]["mean"]]
        parts += _lines((f"`{task}`", *(COLUMNS[name] for name in shown)))
        parts += [
            _line((row["name"], *(cell(name, row["mean"][name]) for name in shown))) for row in rows
        ]
        parts.append("")
    parts += _lines(("claim", "measure", "measured", "difference, 95 %", "verdict"))
    for claim in report["claims"]:
        name = claim["measure"]
        one, two = (cell(name, value) for value in claim["measured"])
        low, high = (cell(name, end) for end in claim["interval"])
        verdict = claim["verdict"] if claim["verdict"] == "held" else f"**{claim['verdict']}**"
        apart = f"{cell(name, claim['difference'])} ({low} to {high})"
        cells = (claim["said"], COLUMNS[name], f"{one}, {two}", apart, verdict)
        parts.append(_line(cells))
    return "\n".join(parts) + "\n"


def _lines(headings: Sequence[str]) -> list[str]:
    return [_line(headings), f"|{'---|' * len(headings)}"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def cell(measure: str, value: float) -> str:
    """Return a measure's mean as tables have it."""
    if measure in ("drawn", "success", "pose", "identity"):
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if measure in ("rows", "gradients") else f"{value:.2f}"
