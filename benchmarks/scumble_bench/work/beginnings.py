"""How often a piece was begun and not finished: what tells one that ends its process from bad luck.

A process that dies says nothing. So it leaves a mark before it begins, and takes it away when the
piece has a row.
"""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from scumble_bench.work.pieces import Piece

__all__ = ["Beginnings"]


class Beginnings:
    """The marks of a folder.

    Args:
        folder: the job's.
    """

    def __init__(self, folder: Path) -> None:
        self._marks = folder / "begun"

    def clear(self, pieces: Iterable[Piece]) -> None:
        """Forget what an earlier run began; it may have been killed on purpose."""
        self._marks.mkdir(exist_ok=True)
        for piece in pieces:
            self.end(piece)

    def begin(self, piece: Piece) -> int:
        """Return how often the piece was begun before and not finished, and count it once more."""
        mark = self._marks / piece.key
        with mark.open("ab") as file:
            before = file.tell()
            file.write(b"|")
        return before

    def end(self, piece: Piece) -> None:
        """Take the mark of a piece away: it has its row."""
        with suppress(FileNotFoundError):
            (self._marks / piece.key).unlink()
