"""Who makes one edit of PIE-Bench and measures it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scumble import Editor
from scumble.images import Picture, fit
from scumble.masks import mask_to_latent
from scumble_bench.evaluation.datasets import load_entries
from scumble_bench.evaluation.entries import Bytes, Entry
from scumble_bench.evaluation.methods import Method, filled
from scumble_bench.evaluation.metrics.loading import load_metrics
from scumble_bench.evaluation.metrics.metric import Metric
from scumble_bench.evaluation.numbers import Number, as_json
from scumble_bench.evaluation.run_lengths import SIZE, Bools, bordered
from scumble_bench.work.pieces import Piece

__all__ = ["EditWorker", "compared", "make_worker", "measured"]


class EditWorker:
    """Makes edits with one editor, which remembers no sources: each edit pays for its own.

    Args:
        editor: a loaded model.
        entries: by id.
        metrics: what is measured.
        settings: `steps`, `guidance`, `seed`, `measured_at` and the folder `pictures`.
    """

    def __init__(
        self,
        editor: Editor,
        entries: Mapping[str, Entry],
        metrics: list[Metric],
        settings: Mapping[str, Any],
    ) -> None:
        self._editor, self._entries, self._metrics = editor, entries, metrics
        self._asked = {name: settings[name] for name in ("steps", "guidance", "seed")}
        self._published = settings["measured_at"] == "published"
        self._pictures = Path(settings["pictures"])
        self._pictures.mkdir(parents=True, exist_ok=True)

    def __call__(self, piece: Piece) -> Mapping[str, Any]:
        """Make the edit of a piece, write its picture, and return its row."""
        entry = self._entries[piece.payload["entry"]]
        method = Method.of(piece.payload["method"])
        # As the published scripts load pictures; theirs all have that size already.
        picture = fit(Picture(entry.read()), SIZE).pixels
        run = self._editor.edit(picture, **self._request(method, entry))
        image = self._pictures / f"{piece.key}.png"
        run.save(image)
        before, after, mask = compared(
            picture, np.asarray(run.source), np.asarray(run.image), entry.mask, self._published
        )
        return {
            "entry": entry.id,
            "kind": entry.kind,
            "method": method.label,
            "picture": image.name,
            "metrics": measured(self._metrics, before, after, mask, entry.target),
            "rows": run.row_count,
            "gradients": run.gradient_count,
            "engine": self._editor.session.provenance()["engine"],
        }

    def close(self) -> None:
        """Give back the engine."""
        self._editor.close()

    def _request(self, method: Method, entry: Entry) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "source": "" if method.silent else entry.source,
            "target": entry.target,
            "method": method.plugin,
            "options": filled(method.options, entry),
            "negative": method.negative,
            "mask": entry.mask if method.masked else None,
            **self._asked,
        }
        if method.inversion is not None:
            asked["inversion"] = method.inversion
            asked["inversion_options"] = dict(method.inversion_options)
        return asked


def compared(
    picture: Bytes, source: Bytes, result: Bytes, mask: Bools, published: bool
) -> tuple[Bytes, Bytes, Bools]:
    """Return the two pictures that are compared and the mask with its border, all of one size.

    Args:
        picture: (512, 512, 3), as the set has it.
        source: the same at the model's size.
        result: the edit, at the model's size.
        mask: (512, 512), without the border.
        published: whether 512x512 is the size, the result enlarged or made smaller to it; else the
            model's is, and the mask is True where at least half of a pixel is covered.
    """
    size = result.shape[0], result.shape[1]
    if not published:
        return source, result, bordered(mask_to_latent(mask, size))
    if size != SIZE:
        large = Image.fromarray(result).resize((SIZE[1], SIZE[0]), Image.Resampling.LANCZOS)
        result = np.asarray(large)
    return picture, result, bordered(mask)


def measured(
    metrics: list[Metric], before: Bytes, after: Bytes, mask: Bools, prompt: str
) -> dict[str, Number]:
    """Return metric -> value, as JSON can hold it."""
    return {metric.name: as_json(metric(before, after, mask, prompt)) for metric in metrics}


def make_worker(settings: Mapping[str, Any]) -> EditWorker:
    """Return a worker with its own engine.

    Args:
        settings: as `pie_bench.job_of` makes them.
    """
    metrics = load_metrics(settings["metrics"], **settings["files"], protocol=settings["protocol"])
    threads = settings["model"].get("threads")
    if threads is not None:
        # Here and not above: what measures has loaded it by now. Sums depend on it, if little.
        import torch

        torch.set_num_threads(threads)
    entries = {entry.id: entry for entry in load_entries(Path(settings["data"]))}
    editor = Editor.load(**settings["model"], source_memory=0)
    return EditWorker(editor, entries, metrics, settings)
