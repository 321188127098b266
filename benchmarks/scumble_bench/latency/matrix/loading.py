"""What it takes before the first edit: to load, to export a pack, to build an engine."""

import tempfile
import time
from pathlib import Path
from typing import Any

from scumble.models import find_checkpoint
from scumble.plugins import load_entry
from scumble_bench.latency.interleaving import cause_of
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.fresh import run_fresh
from scumble_bench.latency.records import Loading

__all__ = ["export_seconds", "measure_loading"]

CACHE = "SCUMBLE_CACHE_DIR"


def measure_loading(
    spec: CellSpec,
    *,
    device: str = "cpu",
    threads: int | None = None,
    build: bool = False,
    export: bool = False,
) -> Loading:
    """Return what a model on an engine takes, each in a new process.

    Args:
        spec: names model, engine and precision.
        device: `auto`, `cpu` or `cuda`.
        threads: of every runtime.
        build: load with an empty cache too; an engine that puts something there was built.
        export: export the pack too, of a checkpoint and an engine that runs packs.
    """
    given: dict[str, Any] = {
        "engine": spec.engine,
        "model": spec.model,
        "precision": spec.precision,
    }
    built = exported = None
    # Whatever hinders one engine is reported as the reason, and the others go on.
    try:
        load = run_fresh(spec, edits=False, device=device, threads=threads).load
        if build:
            with tempfile.TemporaryDirectory() as cache:
                fresh = run_fresh(
                    spec, edits=False, device=device, threads=threads, environment={CACHE: cache}
                )
                built = fresh.load if any(Path(cache).rglob("*")) else None
        if export and load_entry("scumble.engines", spec.engine, "engine")[1].runs == "pack":
            exported = export_seconds(spec.model)
    except Exception as error:  # as said above
        return Loading(**given, failure=cause_of(error))
    return Loading(**given, load=load, export=exported, build=built)


def export_seconds(model: str) -> float | None:
    """Return the seconds to export a checkpoint as a pack; None where the model is one."""
    checkpoint = find_checkpoint(model)
    if checkpoint.manifest is not None:
        return None
    from scumble_export.pack import export_pack

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        export_pack(checkpoint, Path(folder) / "pack")
        return time.perf_counter() - begun
