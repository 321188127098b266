"""From checked edits to a job: a piece an edit, and which of them share a picture."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scumble_bench.batch.edits import Edit
from scumble_bench.work.pieces import Job, Piece

__all__ = ["WORKER", "job_of"]

WORKER = "scumble_bench.batch.worker:EditWorker"

PREPARED = (
    "source", "inversion", "inversion_options", "steps", "guidance", "negative", "seed", "size",
    "fit",
)  # fmt: skip


def job_of(edits: Sequence[Edit], out: Path, model: Mapping[str, Any], weights: str) -> Job:
    """Return the job that makes edits.

    Args:
        edits: in order.
        out: an existing folder, for pictures; rows are kept in its folder `work`.
        model: fields of an `EngineRequest`.
        weights: fingerprint of the model, so that those of another are not mixed in.
    """
    shared = [_shared(edit) for edit in edits]
    common = Counter(shared)
    pieces = [
        _piece(edit, key if key is not None and common[key] > 1 else None)
        for edit, key in zip(edits, shared, strict=True)
    ]
    out = out.resolve()
    settings = {"out": str(out), "model": dict(model), "weights": weights}
    return Job(pieces, WORKER, out / "work", settings)


def _shared(edit: Edit) -> str | None:
    """Return what edits have in common that go on from one inversion; None where there is none."""
    if edit.picture is None or edit.inverts or not edit.request.source:
        return None
    request = edit.request.model_dump(mode="json", include=set(PREPARED))
    text = json.dumps([edit.picture.sha256, request], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _piece(edit: Edit, shared: str | None) -> Piece:
    request = edit.request.model_dump(mode="json")
    picture = edit.picture
    payload = {
        "name": edit.name,
        "request": request,
        "picture": None if picture is None else [str(picture.path), picture.sha256],
        "masks": {name: [str(file.path), file.sha256] for name, file in edit.masks.items()},
        "was": dict(edit.was),
        "prepare": None if shared is None else {name: request[name] for name in PREPARED},
    }
    return Piece(edit.name, payload, shared)
