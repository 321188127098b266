"""What a run is made of: pieces, and the worker that does them.

A piece is JSON, and so is what comes of it, so that any process can do it and any later one can
read it. A worker is named, not handed over: every process makes its own, with its own engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Job", "Piece", "Worker"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One thing to do.

    Attributes:
        key: no other piece of the job has it; letters, digits, dots, dashes and underscores.
        payload: JSON that tells the worker what to do.
        group: pieces of one group share what a worker remembers, such as a picture; they are done
            one after the other, on Ray by the same worker. None shares nothing.
    """

    key: str
    payload: Mapping[str, Any]
    group: str | None = None


class Worker(Protocol):
    """Does pieces, one after the other."""

    def __call__(self, piece: Piece) -> Mapping[str, Any]:
        """Do a piece and return its row, as JSON; files it writes are whole before it returns."""
        ...

    def close(self) -> None:
        """Give back the engine."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """Pieces in their order, and how to make who does them.

    Attributes:
        pieces: in the order in which rows are wanted.
        worker: `module:callable`; called with the settings, it returns a `Worker`.
        settings: JSON; what the worker needs, such as model, engine and the folder for pictures.
        folder: where rows are kept.
    """

    pieces: Sequence[Piece]
    worker: str
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
