"""From a job's words to a worker, and from a worker to a row, whatever happens on the way."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

from scumble.cli.reporting import one_line
from scumble.errors import ScumbleError
from scumble_bench.work.pieces import Piece, Worker
from scumble_bench.work.shelf import FAILURE, Row, Shelf

__all__ = ["do_piece", "grouped", "make_worker"]


def grouped(pieces: Iterable[Piece], most: int | None = None) -> list[list[Piece]]:
    """Return pieces group by group, in the order in which each group begins.

    Args:
        pieces: those without a group are alone.
        most: pieces of a group that stay together; None keeps all.
    """
    groups: dict[tuple[str | None, str], list[Piece]] = {}
    for piece in pieces:
        alone = piece.key if piece.group is None else ""
        groups.setdefault((piece.group, alone), []).append(piece)
    return [
        part[start : start + (most or len(part))]
        for part in groups.values()
        for start in range(0, len(part), most or len(part))
    ]


def make_worker(name: str, settings: Mapping[str, Any]) -> Worker:
    """Return a worker of this process's own.

    Args:
        name: `module:callable`.
        settings: for the callable.
    """
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)(settings)


def do_piece(worker: Worker, piece: Piece, shelf: Shelf) -> Row:
    """Do a piece, keep its row, and return it; where the piece fails, the row says why."""
    try:
        return shelf.put(piece, worker(piece))
    # One piece must not end the others; the next run tries it again.
    except Exception as error:
        said = str(error) if isinstance(error, ScumbleError) else f"{type(error).__name__}: {error}"
        return shelf.put(piece, {FAILURE: one_line(said)})
