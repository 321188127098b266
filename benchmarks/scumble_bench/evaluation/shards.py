"""The pieces of an evaluation, and every n-th of them."""

import re
from collections.abc import Sequence

from scumble.errors import OptionError
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import Method
from scumble_bench.work.pieces import Piece

__all__ = ["pieces_of", "read_shard", "shard_of"]


def pieces_of(entries: Sequence[Entry], methods: Sequence[Method]) -> list[Piece]:
    """Return a piece for each method and entry, method by method.

    A key is made of the entry's id and everything that the method is, so that rows of other methods
    in the same folder are left alone.
    """
    return [
        Piece(f"{entry.id}.{method.slug}", {"entry": entry.id, "method": method.as_json()})
        for method in methods
        for entry in entries
    ]


def read_shard(text: str) -> tuple[int, int]:
    """Return (i, n) from `i/n`: the i-th of n shares, counted from 1.

    Raises:
        OptionError: anything else.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    share, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= share <= of:
        raise OptionError(f"--shard is {text!r}; write 1/4 for the first of four shares.")
    return share, of


def shard_of(pieces: Sequence[Piece], share: int, of: int) -> list[Piece]:
    """Return every n-th piece: those of share i of n, from 1; the shares are disjoint."""
    return list(pieces[share - 1 :: of])
