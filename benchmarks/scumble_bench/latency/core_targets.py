"""Measures the targets of the accelerated core: `python -m scumble_bench.latency.core_targets`.

The parts are whole edits on the demo checkpoint (`demo`), an edit with SD1.5's shapes composed from
its steps (`shapes`), what unused ports cost (`variants`), bf16 against fp32 (`precision`), a
gradient as a graph (`gradient`), and a CUDA device (`gpu`). Parts that are left out by --only keep
what the file has of them.

Exits with 1 when a target is missed; one that could not be measured says why.
"""

import argparse
import gc
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from scumble_bench.latency import composed, gpu, gradients, precision, variants, whole_edits
from scumble_bench.latency.interleaving import cause_of
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.provenance import provenance
from scumble_bench.latency.report import read_report, write_report
from scumble_bench.latency.targets import verdicts

__all__ = ["PARTS", "main", "parser"]

RESULTS = Path(__file__).resolve().parents[2] / "results" / "core_targets.json"
PARTS: dict[str, Callable[[Settings], Part]] = {
    "demo": whole_edits.measure,
    "shapes": composed.measure,
    "variants": variants.measure,
    "precision": precision.measure,
    "gradient": gradients.measure,
    "gpu": gpu.measure,
}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.latency.core_targets", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--out", type=Path, default=RESULTS, help="file of the figures")
    made.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    made.add_argument("--engines", nargs="+", default=["torch", "onnxruntime"])
    made.add_argument("--threads", type=int, help="of every runtime")
    made.add_argument("--steps", type=int, default=50)
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--warmup", type=int, default=1)
    made.add_argument("--edits", type=int, help="demo edits to compare in bf16; all of them")
    made.add_argument("--model", default="rooms", help="the demo checkpoint")
    made.add_argument("--pack", type=Path, help="its pack; the one beside it")
    made.add_argument(
        "--shape", type=Path, help="folder of SD1.5's shapes, written if it is not there"
    )
    made.add_argument("--shape-pack", type=Path, help="a pack of that folder")
    made.add_argument("--pixels", type=int, default=256, help="with SD1.5's shapes; 0 is native")
    made.add_argument("--gpu-pixels", type=int, default=512, help="likewise, of the part gpu")
    made.add_argument("--device", default="cuda", help="of the part gpu")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print; return 1 if a target is missed."""
    chosen = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            shape=chosen.shape or Path(folder) / "shape",
            model=chosen.model,
            pack=chosen.pack,
            shape_pack=chosen.shape_pack,
            engines=tuple(chosen.engines),
            steps=chosen.steps,
            rounds=chosen.rounds,
            warmup=chosen.warmup,
            threads=chosen.threads,
            pixels=chosen.pixels or None,
            gpu_pixels=chosen.gpu_pixels or None,
            edits=chosen.edits,
            device=chosen.device,
        )
        report = read_report(chosen.out, PARTS)
        for name in (part for part in PARTS if part in chosen.only):
            report[name] = _run(name, settings)
            # After each part: they take long, and the next may not come to its end.
            write_report(chosen.out, report)
            gc.collect()
    found = [verdict for name in PARTS for verdict in report[name]["targets"]]
    _print(found)
    return int(any(verdict["verdict"] == "missed" for verdict in found))


def _run(name: str, settings: Settings) -> dict[str, Any]:
    """Return what a part measured, with its provenance and the verdicts on its targets."""
    origin = provenance(settings.threads, {})
    failure = ""
    try:
        part = PARTS[name](settings)
    # Whatever hinders a part is reported as the reason for its targets, and the others go on.
    except Exception as error:
        failure, part = cause_of(error), Part()
    found = verdicts(name, part.findings, failure or "this part did not look at it")
    origin["weights_sha256"] = part.weights
    return {"targets": found, "provenance": origin, "failure": failure or None, **part.as_json()}


def _print(found: Sequence[dict[str, Any]]) -> None:
    """Print the verdicts, and below them why something was not measured."""
    console = Console()
    table = Table("target", "engine", "measured", "threshold", "")
    for verdict in found:
        value = "" if verdict["value"] is None else f"{verdict['value']:.3g}"
        row = (verdict["target"], verdict["engine"], value, verdict["threshold"])
        table.add_row(*row, verdict["verdict"])
    console.print(table)
    for verdict in found:
        if verdict["why"]:
            console.print(f"{verdict['target']}, {verdict['engine']}: {verdict['why']}")


if __name__ == "__main__":
    sys.exit(main())
