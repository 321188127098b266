"""Part `gpu`: SD1.5's shapes in half precision on a CUDA device.

Written without a GPU at hand: it has been run on a CPU only, which `--device cpu` does in fp32.
"""

import torch

from scumble import Editor
from scumble.models import find_checkpoint
from scumble_bench.latency.composed import OPTIONS, count_steps
from scumble_bench.latency.edited import TimedEdit
from scumble_bench.latency.interleaving import Cell, Spread, cause_of, interleave
from scumble_bench.latency.neutral_steps import neutral_step
from scumble_bench.latency.parts import SOURCE_MEMORY, Part, Settings
from scumble_bench.latency.shapes import write_shape
from scumble_bench.latency.targets import Finding
from scumble_bench.latency.variants import ROWS, VARIANTS

__all__ = ["measure"]

ROW = f"{ROWS} rows, routed"
TARGETS = ("gpu.row", "gpu.next")


def measure(settings: Settings) -> Part:
    """Time a routed step of three rows, and compose a next edit, on each engine."""
    part = Part()
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        part.findings = [
            Finding(target, "any", None, "this machine has no CUDA device") for target in TARGETS
        ]
        return part
    part.weights["shape"] = find_checkpoint(write_shape(settings.shape)).fingerprint()
    for engine in settings.engines:
        try:
            _on(engine, settings, part)
        # Whatever hinders one engine is reported as the reason, and the others go on.
        except Exception as error:
            why = cause_of(error)
            part.findings += [Finding(target, engine, None, why) for target in TARGETS]
    return part


def _on(engine: str, settings: Settings, part: Part) -> None:
    side = settings.gpu_pixels
    size = None if side is None else (side, side)
    edit = TimedEdit(settings.steps, OPTIONS, size)
    with Editor.load(
        settings.shape_for(engine),
        engine=engine,
        precision="fp16" if settings.device.startswith("cuda") else "fp32",
        device=settings.device,
        threads=settings.threads,
        source_memory=SOURCE_MEMORY,
    ) as editor:
        counted = count_steps(editor, edit, "next edit")
        row = Cell(ROW, neutral_step(editor, VARIANTS["routed"], ROWS, size))
        cells = [cell for cell in counted.cells if cell.name in counted.next]
        done = interleave(row, *cells, rounds=settings.rounds, warmup=settings.warmup)
        part.facts[engine] = {**editor.session.engine.provenance, "steps": counted.next}
    part.comparisons[engine] = done
    part.findings += [
        Finding(
            "gpu.row",
            engine,
            Spread.of(tuple(1000 * s / ROWS for s in done.timings[ROW].seconds)),
            done.failure(ROW),
        ),
        Finding(
            "gpu.next",
            engine,
            Spread.of(done.composed(counted.next)),
            done.failure(*counted.next),
        ),
    ]
