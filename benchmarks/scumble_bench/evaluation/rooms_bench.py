"""The rooms benchmark: from what is asked to a job, and from its rows to tables and points."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scumble.plugins import list_entries
from scumble_bench.evaluation.rooms_summary import points_of, reported, task_table
from scumble_bench.evaluation.running import made_with
from scumble_bench.evaluation.tables import markdown
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import KINDS, CaseSet, Kind, draw_cases
from scumble_bench.rooms.methods.rows import Row, cases_of
from scumble_bench.rooms.methods.worker import WORKER, pieces_of, values_of
from scumble_bench.work.pieces import Job, Piece

__all__ = ["AskedRooms", "drawn_for", "files_of", "job_of", "summary_of"]


@dataclass(frozen=True, slots=True)
class AskedRooms:
    """What is asked for.

    Attributes:
        out: folder of the results.
        rows: of the tables.
        sets: kind -> the edits that are made.
        model: as `Editor.load` takes it.
        engine: for every row; None is onnxruntime where that will do.
        threads: of the engines.
        steps: DDIM steps.
    """

    out: Path
    rows: Sequence[Row]
    sets: Mapping[Kind, CaseSet] = field(repr=False)
    model: str = "rooms"
    engine: str | None = None
    threads: int | None = None
    steps: int = 20


def drawn_for(rows: Sequence[Row], count: int) -> dict[Kind, CaseSet]:
    """Return the edits of every kind that rows take, so many of each."""
    judge = Judge.load(CHECKPOINT / "judge")
    kinds = {cases_of(row.task) for row in rows}
    return {kind: draw_cases(kind, count, judge) for kind in KINDS if kind in kinds}


def job_of(asked: AskedRooms) -> Job:
    """Return the job: a piece for each row and edit."""
    settings = {
        "pictures": str((asked.out / "pictures").resolve()),
        "model": asked.model,
        "engine": asked.engine,
        "threads": asked.threads,
        "steps": asked.steps,
        **made_with({"model": asked.model}),
    }
    pieces = [_with_origins(piece) for piece in pieces_of(asked.rows, asked.sets)]
    return Job(pieces, WORKER, asked.out, settings)


def summary_of(asked: AskedRooms, job: Job, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the rows come to, and what they were made with, as JSON."""
    done = [
        reported(row, values_of(row, job.pieces, rows), len(asked.sets[cases_of(row.task)].cases))
        for row in asked.rows
    ]
    return {
        "data": "rooms",
        "steps": asked.steps,
        "settings": dict(job.settings),
        "cases": {
            kind: " ".join(str(case.seed) for case in found.cases)
            for kind, found in asked.sets.items()
        },
        "rows": done,
        "points": [point.model_dump(mode="json") for point in points_of(done)],
    }


def files_of(summary: Mapping[str, Any], drawn: bool = True) -> dict[str, bytes]:
    """Return name -> content of what is written beside the rows.

    Args:
        summary: as `summary_of` makes it.
        drawn: whether the Pareto plot is among them; that needs matplotlib.
    """
    tasks = dict.fromkeys(row["task"] for row in summary["rows"])
    parts = [f"## {task}\n\n{markdown(task_table(summary['rows'], task))}\n" for task in tasks]
    files = {
        "summary.json": (json.dumps(summary, indent=1) + "\n").encode(),
        "table.md": "".join(parts).encode(),
    }
    if drawn:
        # Here and not above: they load matplotlib, which tables do without.
        from scumble_bench.reports.pareto_plot import pareto_plot
        from scumble_bench.reports.style import render

        plot = pareto_plot(points_of(summary["rows"]))
        if plot is not None:
            files["pareto.png"] = render(plot)
    return files


def _with_origins(piece: Piece) -> Piece:
    """Return a piece that also says which distributions its plugins come from."""
    row = piece.payload["row"]
    installed = list_entries()
    origins = {
        name: [one.origin for one in installed.get(name, ())]
        for name in (row["method"], row["inversion"])
        if name is not None
    }
    return Piece(piece.key, {**piece.payload, "origins": origins}, piece.group)
