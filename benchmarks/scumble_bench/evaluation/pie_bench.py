"""PIE-Bench: from what is asked to a job, and from its rows to the files of the results."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from scumble.plugins import list_entries
from scumble_bench.evaluation.datasets import fingerprint
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import Method
from scumble_bench.evaluation.published import note
from scumble_bench.evaluation.running import made_with
from scumble_bench.evaluation.shards import pieces_of
from scumble_bench.evaluation.summary import rows_by_method, summarised
from scumble_bench.evaluation.tables import by_type, csv_of, markdown, overall
from scumble_bench.work.pieces import Job, Piece
from scumble_bench.work.shelf import Row

__all__ = ["Asked", "Size", "files_of", "job_of", "summary_of"]

Size = Literal["published", "model"]
"""Whether edits are measured at 512x512, as was published, or at the model's own size."""

WORKER = "scumble_bench.evaluation.worker:make_worker"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        data: folder of the set.
        out: folder of the results.
        methods: the rows of the table.
        metrics: names.
        files: what the metrics need: `clip`, `lpips`, `dino` -> path.
        protocol: how is measured; see `metrics.protocol`.
        measured_at: at which size.
        model: fields of an `EngineRequest`.
        steps: DDIM steps.
        guidance: scale.
        seed: of every edit, as was published.
    """

    data: Path
    out: Path
    methods: Sequence[Method]
    metrics: Sequence[str]
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    protocol: str = "pie-bench"
    measured_at: Size = "published"
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    steps: int = 50
    guidance: float = 7.5
    seed: int = 1234


def job_of(asked: Asked, entries: Sequence[Entry]) -> Job:
    """Return the job: a piece for each method and entry, and the settings that all have in common.

    A row counts for later calls while its piece is the same: entry, method, options and the
    versions of their plugins. Settings are compared too, and other ones refused.
    """
    settings = {
        "data": str(asked.data.resolve()),
        "entries_sha256": fingerprint(entries),
        "pictures": str((asked.out / "pictures").resolve()),
        "metrics": list(asked.metrics),
        "files": {name: str(Path(path).resolve()) for name, path in asked.files.items()},
        "protocol": asked.protocol,
        "measured_at": asked.measured_at,
        "model": dict(asked.model),
        "steps": asked.steps,
        "guidance": asked.guidance,
        "seed": asked.seed,
        **made_with(asked.model),
    }
    pieces = [_with_origins(piece) for piece in pieces_of(entries, asked.methods)]
    return Job(pieces, WORKER, asked.out, settings)


def summary_of(
    asked: Asked, entries: Sequence[Entry], job: Job, rows: Sequence[Row]
) -> dict[str, Any]:
    """Return what the rows come to, and what they were made with, as JSON."""
    by_method = rows_by_method(asked.methods, job.pieces, rows)
    model = str(asked.model.get("model", "rooms"))
    return {
        "data": str(asked.data),
        "entries": len(entries),
        "metrics": list(asked.metrics),
        "settings": dict(job.settings),
        "note": note(model, len(entries)),
        "rows": [
            summarised(method, by_method[method.label], len(entries), asked.metrics)
            for method in asked.methods
        ],
    }


def files_of(
    asked: Asked, job: Job, rows: Sequence[Row], summary: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return name -> content of what is written beside the rows."""
    by_method = rows_by_method(asked.methods, job.pieces, rows)
    parts = [markdown(overall(summary)), f"\n{summary['note']}\n"]
    parts += [
        f"\n## {method.label}\n\n{markdown(by_type(summary, method.label))}"
        for method in asked.methods
    ]
    files = {
        "summary.json": json.dumps(summary, indent=1) + "\n",
        "pictures.csv": csv_of(by_method, asked.metrics),
        "table.md": "".join(parts),
    }
    return {name: text.encode() for name, text in files.items()}


def _with_origins(piece: Piece) -> Piece:
    """Return a piece that also says which distributions its plugins come from."""
    method = piece.payload["method"]
    installed = list_entries()
    names = [name for name in (method["plugin"], method["inversion"]) if name is not None]
    origins = {name: [one.origin for one in installed.get(name, ())] for name in names}
    return Piece(piece.key, {**piece.payload, "origins": origins}, piece.group)
