"""A job, run where it was asked to run, with a bar; and what its rows were made with."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.cli.reporting import hushed
from scumble.errors import OptionError
from scumble.models import find_checkpoint
from scumble_bench.latency.provenance import versions
from scumble_bench.work import local
from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import Row, open_shelf

__all__ = ["RUNNERS", "made_with", "run_job", "what_is_there"]

RUNNERS = ("local", "ray")
MEASURING = ("torchmetrics",)
"""What the metrics' values depend on beside the runtimes."""
BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def run_job(
    job: Job, runner: str = "local", *, workers: int = 1, gpus: float = 0, shown: bool = False
) -> list[Row]:
    """Do what is pending of a job, and return the rows of all its pieces, in order.

    Args:
        job: what to do.
        runner: `local` or `ray`.
        workers: actors of Ray; one here.
        gpus: of each actor; a share of one will do.
        shown: whether to show a bar on stderr.

    Raises:
        OptionError: no such runner, workers for the local one, or rows of other settings.
        EngineError: Ray is not installed.
    """
    if runner not in RUNNERS:
        raise OptionError(f"--runner is {runner!r}; write {' or '.join(RUNNERS)}.")
    if runner == "local" and (workers != 1 or gpus):
        raise OptionError("--workers and --gpus-per-worker are for --runner ray; add it.")
    with (
        hushed(),
        Progress(*BAR, console=Console(stderr=True), transient=True, disable=not shown) as bar,
    ):
        task = bar.add_task("loading", total=len(job.pieces))

        def told(done: int, of: int, row: Row | None) -> None:
            bar.update(task, completed=done, description="loading" if row is None else "edits")

        if runner == "local":
            return local.run(job, told)
        # Loads Ray, which takes seconds and is an extra.
        from scumble_bench.work import on_ray

        return on_ray.run(job, told, on_ray.Actors(workers=workers, gpus=gpus))


def what_is_there(job: Job) -> list[Row]:
    """Return the rows of a job that are done, in order; nothing is run.

    Raises:
        OptionError: none is, or they were made with other settings.
    """
    rows = open_shelf(job).rows(job.pieces) if job.folder.is_dir() else []
    if not rows:
        raise OptionError(
            f"'{job.folder}' holds no row of this evaluation; --merge is for what was run before "
            "with the same settings."
        )
    return rows


def made_with(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return what rows depend on beside what was asked: versions and the weights' hash.

    Args:
        model: fields of an `EngineRequest`.
    """
    name = model.get("model", "rooms")
    path = Path(name)
    found = find_checkpoint(
        name,
        **{key: model[key] for key in ("revision", "local_files_only") if key in model},
    )
    shown = str(path.resolve()) if path.exists() else name
    known = {**versions(), **{one: version(one) for one in MEASURING if find_spec(one)}}
    return {"versions": known, "weights_sha256": {shown: found.fingerprint()}}
