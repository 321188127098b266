"""A job in this process, piece after piece."""

from collections.abc import Callable
from typing import TypeAlias

from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import Row, open_shelf
from scumble_bench.work.workers import do_piece, grouped, make_worker

__all__ = ["Progress", "run"]

Progress: TypeAlias = Callable[[int, int, Row | None], None]
"""Told how many pieces are done of how many, and the row of the last; None at the start."""


def run(job: Job, progress: Progress | None = None) -> list[Row]:
    """Do what is pending of a job, group by group, and return the rows of all its pieces, in order.

    A piece that fails has a row with `key` and `failure`, the cause in one line; the next run tries
    it again. A run that ends early, killed or interrupted, is taken up by the next one.

    Args:
        job: what to do.
        progress: told at the start, and after each piece.

    Raises:
        OptionError: the folder holds rows of other settings, or cannot be used.
        ScumbleError: the worker cannot be made.
    """
    told = progress or _untold
    shelf = open_shelf(job)
    pending = shelf.pending(job.pieces)
    of = len(job.pieces)
    told(of - len(pending), of, None)
    if pending:
        worker = make_worker(job.worker, job.settings)
        try:
            together = [piece for group in grouped(pending) for piece in group]
            for left, piece in zip(reversed(range(len(pending))), together, strict=True):
                told(of - left, of, do_piece(worker, piece, shelf))
        finally:
            worker.close()
    return shelf.rows(job.pieces)


def _untold(done: int, of: int, row: Row | None) -> None:
    """Tell nobody."""
