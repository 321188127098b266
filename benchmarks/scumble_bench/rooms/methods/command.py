"""Measures methods on held-out scenes: `python -m scumble_bench.rooms.methods`.

Writes a row a method and task, and the papers' claims with their verdicts. A claim that did not
hold is reported and is no failure: only what cannot be measured is. A run that was stopped goes on
where it was; if something that the rows depend on was changed, it says what and measures nothing.
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.errors import ScumbleError
from scumble.models import find_checkpoint
from scumble_bench.latency.provenance import commit, provenance, versions
from scumble_bench.latency.report import write_report
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import KINDS, CaseSet, Kind, draw_cases
from scumble_bench.rooms.methods.report import (
    claims_of,
    markdown_of,
    print_report,
    row_report,
)
from scumble_bench.rooms.methods.rows import ROWS, Row, cases_of
from scumble_bench.rooms.methods.worker import WORKER, pieces_of, values_of
from scumble_bench.work.local import run
from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import FAILURE

__all__ = ["main", "parser"]

RESULTS = Path(__file__).resolve().parents[3] / "results" / "methods.json"
NOTES = (
    "Options are the published defaults, at fewer steps than the published 50; the same on both "
    "sides of each claim.",
    "The judge is a small network with faults of its own: benchmarks/results/quality.json.",
    "The model draws softly, and fewer than half of the poses that a prompt names (quality.json, "
    "prompt_poses): what is low for every method is low for the model's sake.",
    "Re-painting is measured on generated pictures only; of pictures that are brought nothing is "
    "claimed.",
)
BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.rooms.methods", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--out", type=Path, default=RESULTS, help="file of the figures")
    made.add_argument("--model", default="rooms", help="rooms, or a model trained on its world")
    made.add_argument("--edits", type=int, default=100, help="of each row")
    made.add_argument("--steps", type=int, default=20, help="DDIM steps of each edit")
    made.add_argument("--threads", type=int, help="of the engines")
    made.add_argument("--show", action="store_true", help="print the file's tables as Markdown")
    made.add_argument("--tasks", nargs="+", choices=sorted({row.task for row in ROWS}))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    chosen = parser().parse_args(arguments)
    if chosen.show:
        print(markdown_of(json.loads(chosen.out.read_text(encoding="utf-8"))), end="")
        return 0
    judge = Judge.load(CHECKPOINT / "judge")
    wanted = [row for row in ROWS if not chosen.tasks or row.task in chosen.tasks]
    weights = {chosen.model: find_checkpoint(chosen.model).fingerprint()}
    origin = provenance(chosen.threads, weights)
    kinds = {cases_of(row.task) for row in wanted}
    sets: dict[Kind, CaseSet] = {
        kind: draw_cases(kind, chosen.edits, judge) for kind in KINDS if kind in kinds
    }
    pieces = pieces_of(wanted, sets)
    settings = {
        "model": chosen.model,
        "threads": chosen.threads,
        "steps": chosen.steps,
        "commit": commit(),
        "versions": versions(),
        "weights_sha256": weights,
    }
    folder = chosen.out.with_suffix(".part")
    console = Console()
    with Progress(*BAR, console=console) as bar:
        overall = bar.add_task("methods", total=len(pieces))
        job = Job(pieces, WORKER, folder, settings)
        done = run(job, lambda count, of, row: bar.update(overall, completed=count))
    failures = [row for row in done if FAILURE in row]
    if failures:
        first = failures[0]
        raise ScumbleError(
            f"{len(failures)} of {len(done)} edits failed, '{first['key']}' among them: "
            f"{first[FAILURE]}"
        )
    rows = [_reported(row, values_of(row, pieces, done)) for row in wanted]
    report: dict[str, Any] = {
        "steps": chosen.steps,
        "guidance": 7.5,
        "notes": list(NOTES),
        "cases": {kind: _told(found) for kind, found in sets.items()},
        "claims": claims_of(rows),
        "rows": rows,
        "provenance": origin,
    }
    write_report(chosen.out, report)
    shutil.rmtree(folder)
    print_report(report, console)
    return 0


def _reported(row: Row, done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the file holds of a row."""
    return row_report(row.as_json(), [one["values"] for one in done], {"engine": done[0]["engine"]})


def _told(found: CaseSet) -> dict[str, Any]:
    """Return what the file holds of the edits of a kind."""
    return {
        "looked_at": found.looked_at,
        "misjudged": found.misjudged,
        "seeds": " ".join(str(case.seed) for case in found.cases),
    }
