"""Part `gradient`: one gradient of MAG-Edit's loss by torch, and by the graph of the demo pack."""

from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np

from scumble import Editor
from scumble.arrays import Array
from scumble.models import find_checkpoint
from scumble.ports import neutral
from scumble_bench.latency.interleaving import Cell, interleave
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.targets import Finding

__all__ = ["AGREEMENT", "TARGET", "gradient_ports", "measure"]

TARGET = "gradient.graph"
AGREEMENT = 1e-4
"""Largest difference of two engines' gradients, of the largest value, at which a time counts."""


def measure(settings: Settings) -> Part:
    """Time the same gradient on both engines, each with its source's state where it computes."""
    part = Part({"terms": 1, "rows": 1, "loss": "token ratio (arXiv:2312.11396, eq. 5)"})
    part.weights["model"] = find_checkpoint(settings.model).fingerprint()
    with ExitStack() as stack:
        editors = {
            name: stack.enter_context(settings.load(settings.model_for(name), name))
            for name in ("torch", "onnxruntime")
        }
        cells: list[Cell] = []
        found: dict[str, Array] = {}
        for name, editor in editors.items():
            engine, ports = editor.session.engine, gradient_ports(editor)
            found[name] = engine.gradient(ports).latents
            run = partial(engine.gradient, ports)
            cells.append(Cell(name, run, prepare=run))
        part.facts["distance"] = apart = _distance(found["onnxruntime"], found["torch"])
        if not apart < AGREEMENT:
            why = f"the gradients differ by {apart:.1e} of the largest value"
            part.findings.append(Finding(TARGET, "onnxruntime", None, why))
            return part
        done = interleave(*cells, rounds=4 * settings.rounds, warmup=settings.warmup)
    part.comparisons["onnxruntime"] = done
    why = done.failure("torch", "onnxruntime")
    part.findings.append(Finding(TARGET, "onnxruntime", done.ratio("torch", "onnxruntime"), why))
    return part


def gradient_ports(editor: Editor) -> dict[str, Any]:
    """Return a gradient's ports: a word inside a box, self-attention taken from the source."""
    info, engine = editor.session.info, editor.session.engine
    sizes = info.sizes(info.sites.native)
    rng = np.random.default_rng(0)
    row: dict[str, Any] = {
        "sample": rng.standard_normal((1, *sizes.latent)).astype(np.float32),
        "timestep": np.full(1, 741, dtype=np.int64),
        "text": rng.standard_normal((1, sizes.tokens, sizes.features)).astype(np.float32),
    }
    told = engine.step({**row, "record.row": np.zeros(1, np.int64)}).recorded
    edit = {**neutral("route", sizes, 1, True), **neutral("mix", sizes, 1, True)}
    edit["route"][:, :2] = 1
    height, width = sizes.latent[1:]
    mask = np.zeros((1, 1, height, width))
    mask[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    words = np.zeros((1, 1, sizes.tokens))
    words[..., 2] = 1
    gate = np.zeros(sizes.sites.count("cross"))
    gate[list(sizes.sites.select("cross", strides=(sizes.sites.map_stride,)))] = 1
    loss = {
        "loss.words": words,
        "loss.rest": np.ones_like(words),
        "loss.masks": mask,
        "loss.weights": np.array([[[2.5, 0.0]]]),
        "loss.sites": gate,
    }
    filled = {
        name: value.astype(np.float32) if value.dtype.kind == "f" else value
        for name, value in (edit | loss).items()
    }
    return {**row, **filled, **told, "source.text": row["text"]}


def _distance(found: Array, wanted: Array) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())
