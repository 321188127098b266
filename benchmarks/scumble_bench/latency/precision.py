"""Part `precision`: bf16 against fp32, in time on SD1.5's shapes and in pictures of the demo."""

import math
from contextlib import ExitStack
from typing import Any

import numpy as np
from PIL import Image

from scumble.models import find_checkpoint
from scumble.plugins import list_entries
from scumble_bench.demo_edits import EDITS, PICTURES
from scumble_bench.latency.interleaving import Cell, cause_of, interleave
from scumble_bench.latency.neutral_steps import neutral_step
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.provenance import cpu_features
from scumble_bench.latency.shapes import write_shape
from scumble_bench.latency.targets import Finding
from scumble_bench.latency.variants import ROWS, VARIANTS

__all__ = ["ENGINES", "measure", "psnr"]

ENGINES = ("torch", "openvino")
"""Those with a bf16 tier on a CPU."""


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB; equal ones have 99."""
    error = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    mean = float(np.square(error).mean())
    return min(99.0, 10 * math.log10(255**2 / mean)) if mean else 99.0


def measure(settings: Settings) -> Part:
    """Time a routed step in both precisions, and compare the pictures of the demo's edits."""
    folder = write_shape(settings.shape)
    part = Part({"rows": ROWS, "size": settings.size, "steps": settings.steps})
    part.weights = {
        "shape": find_checkpoint(folder).fingerprint(),
        settings.model: find_checkpoint(settings.model).fingerprint(),
    }
    for engine in ENGINES:
        if engine not in list_entries("scumble.engines"):
            why = f"engine {engine!r} is not installed"
            for target in ("precision.bf16", "precision.psnr"):
                part.findings.append(Finding(target, engine, None, why))
            continue
        # Whatever hinders one figure is reported as its reason, and the others go on.
        try:
            part.findings.append(_time(engine, settings, part))
        except Exception as error:  # as said above
            part.findings.append(Finding("precision.bf16", engine, None, cause_of(error)))
        try:
            part.findings.append(_pictures(engine, settings, part))
        except Exception as error:  # as said above
            part.findings.append(Finding("precision.psnr", engine, None, cause_of(error)))
    return part


def _time(engine: str, settings: Settings, part: Part) -> Finding:
    model = settings.shape_for(engine)
    with ExitStack() as stack:
        cells: list[Cell] = []
        for precision in ("fp32", "bf16"):
            editor = stack.enter_context(settings.load(model, engine, precision))
            step = neutral_step(editor, VARIANTS["routed"], ROWS, settings.size)
            cells.append(Cell(precision, step))
        done = interleave(*cells, rounds=settings.rounds, warmup=settings.warmup)
    part.comparisons[f"{engine}, routed"] = done
    why = done.failure("fp32", "bf16")
    if not why and "amx_bf16" not in cpu_features():
        why = "the target is for AMX, which this processor does not have"
    return Finding("precision.bf16", engine, done.ratio("fp32", "bf16"), why)


def _pictures(engine: str, settings: Settings, part: Part) -> Finding:
    """Edit the demo's pictures in both precisions; the worst PSNR decides."""
    model = settings.model_for(engine)
    found: dict[str, float] = {}
    with ExitStack() as stack:
        editors = [
            stack.enter_context(settings.load(model, engine, precision))
            for precision in ("fp32", "bf16")
        ]
        for edit in EDITS[: settings.edits]:
            (picture,) = (p for p in PICTURES if p.name == edit.picture)
            asked: dict[str, Any] = {
                "source": picture.prompt,
                "target": edit.target,
                "options": edit.options,
                "steps": settings.steps,
            }
            one, other = (editor.edit(picture.path, **asked).image for editor in editors)
            found[f"{edit.picture}, {edit.kind}"] = psnr(one, other)
    part.facts[f"{engine}, PSNR in dB"] = {name: round(db, 2) for name, db in found.items()}
    return Finding("precision.psnr", engine, min(found.values()))
