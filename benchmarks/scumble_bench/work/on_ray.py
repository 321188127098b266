"""The same job on Ray Data: one engine an actor, on this machine or on a cluster.

Ray Data schedules, restarts actors that die and gives their pieces to another; rows go to the shelf
from where they are made, so that the folder has to be on a disk that every machine sees.
"""

import json
import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from scumble.cli.reporting import debugging, one_line
from scumble.errors import EngineError, OptionError
from scumble_bench.work.beginnings import Beginnings
from scumble_bench.work.local import Progress
from scumble_bench.work.pieces import Job, Piece
from scumble_bench.work.shelf import FAILURE, Row, Shelf, open_shelf
from scumble_bench.work.workers import do_piece, grouped, make_worker

__all__ = ["Actors", "run"]

TOGETHER = 16
"""Pieces of a group that one actor is given at a time; more are shared out."""
RETRIES = 2
"""How often a piece that ended its process is begun again before it counts as failed."""
STORE = 256 << 20  # bytes for Ray's objects, which are prompts and rows here


@dataclass(frozen=True, slots=True)
class Actors:
    """What the job runs on.

    Attributes:
        workers: actors, each with an engine.
        threads: CPUs of each; what counts is the engine's own setting, this is for Ray's books.
        gpus: GPUs of each, less than one to share; 0 hides them.
        address: of a cluster; None starts Ray on this machine.

    Raises:
        OptionError: fewer than one worker or thread, or a share of GPUs that Ray does not give.
    """

    workers: int = 2
    threads: int = 1
    gpus: float = 0.0
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.threads < 1:
            raise OptionError(
                f"got {self.workers} workers of {self.threads} threads; give one of each at least."
            )
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise OptionError(
                f"a worker can have a share of a GPU or several whole ones, not {self.gpus}; give "
                "0.5, 1 or 2, for instance."
            )


def run(job: Job, progress: Progress | None = None, actors: Actors | None = None) -> list[Row]:
    """Do what is pending of a job on Ray Data, and return the rows of all its pieces, in order.

    As `scumble_bench.work.local.run` does it. An actor that dies is replaced, and what it had not
    finished is done again. A piece that ended its process three times has failed.

    Args:
        job: what to do; its folder is seen by every machine.
        progress: told at the start, and of each piece, in the order of the job's groups.
        actors: what it runs on.

    Raises:
        OptionError: the folder holds rows of other settings or cannot be used, or there are fewer
            GPUs than asked for.
        EngineError: Ray is not installed or not reached, or an actor cannot be made.
    """
    shelf = open_shelf(job)
    pending = shelf.pending(job.pieces)
    done, of = len(job.pieces) - len(pending), len(job.pieces)
    if progress is not None:
        progress(done, of, None)
    if pending:
        Beginnings(job.folder).clear(pending)
        with _started(actors or Actors()) as ray:
            for row in _streamed(ray, job, grouped(pending, TOGETHER), actors or Actors()):
                done += 1
                if progress is not None:
                    progress(done, of, row)
    rows = shelf.rows(job.pieces)
    if len(rows) < of:
        raise OptionError(
            f"workers made {of - len(rows)} rows more than there are in '{job.folder}' here; name "
            "a folder on a disk that every machine of the cluster sees."
        )
    return rows


class Doing:
    """An actor: a worker of its own, made once.

    Args:
        worker: as a job names it.
        settings: for it.
        folder: the job's.
    """

    def __init__(self, worker: str, settings: Mapping[str, Any], folder: str) -> None:
        self._worker = make_worker(worker, settings)
        self._shelf = Shelf(Path(folder))
        self._beginnings = Beginnings(Path(folder))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the pieces of a group, but for those that an actor finished before it died."""
        (text,) = batch["pieces"]
        rows: list[str] = []
        for given in json.loads(text):
            piece = Piece(**given)
            row = self._shelf.get(piece)
            if row is None or row.get(FAILURE):
                row = self._done(piece)
            rows.append(json.dumps(row))
        return {"row": rows}

    def _done(self, piece: Piece) -> Row:
        if self._beginnings.begin(piece) > RETRIES:
            cause = f"the process that did it ended, {RETRIES + 1} times in a row"
            row = self._shelf.put(piece, {FAILURE: cause})
        else:
            row = do_piece(self._worker, piece, self._shelf)
        self._beginnings.end(piece)
        return row


def _streamed(
    ray: Any, job: Job, groups: Sequence[Sequence[Piece]], actors: Actors
) -> Iterator[Row]:
    """Yield rows as Ray Data hands them out, which restarts actors and repeats what they did."""
    items = [
        {"pieces": json.dumps([{"key": piece.key, "payload": piece.payload} for piece in group])}
        for group in groups
    ]
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    with ray.data.DataContext.current(context):
        # A block a group: a block is what an actor is given, and what is done again.
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Doing,
            fn_constructor_args=(job.worker, job.settings, str(job.folder.resolve())),
            batch_size=1,
            batch_format="numpy",
            # One at a time: a queue before a busy actor is time that another could have used.
            compute=ray.data.ActorPoolStrategy(
                size=min(actors.workers, len(items)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=actors.threads,
            num_gpus=actors.gpus,
        )
        try:
            for item in data.iter_rows():
                yield json.loads(item["row"])
        except ray.exceptions.RayError as error:
            # It begins with Ray's own traceback; what was raised is at its end.
            said = one_line(str(error).strip().rpartition("\n")[2])
            raise EngineError(f"a worker on Ray broke: {said}") from error


@contextmanager
def _started(actors: Actors) -> Generator[Any]:
    """Give Ray, started or joined, and leave it as it was."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not debugging():
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray: Any = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise EngineError(
            f"this needs {error.name}, which is not installed: pip install 'scumble[ray]'."
        ) from error
    if not debugging():
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield ray
        return
    mine: dict[str, Any] = {"address": actors.address}
    if actors.address is None:
        # Ray's books have room for what was asked for, whatever the machine has.
        books = {"num_cpus": actors.workers * actors.threads, "object_store_memory": STORE}
        mine = {"address": "local", **books}
    try:
        ray.init(**mine, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise EngineError(f"Ray does not start or answer: {one_line(str(error))}") from error
    try:
        if actors.address is None:
            _require_gpus(ray.cluster_resources().get("GPU", 0), actors)
        yield ray
    finally:
        ray.shutdown()


def _require_gpus(there: float, actors: Actors) -> None:
    if not actors.gpus:
        return
    fit = int(there) * int(1 / actors.gpus) if actors.gpus < 1 else int(there / actors.gpus)
    if fit < actors.workers:
        raise OptionError(
            f"{actors.workers} workers with {actors.gpus:g} of a GPU each do not fit on the "
            f"{there:g} GPUs that are here; there is room for {fit}."
        )
