"""Rows on disk, one file a piece: what is finished outlives the process that did it.

A row is written under another name, synced and renamed, so that it is there whole or not at all: a
run that is killed at any moment loses nothing that was finished, and counts nothing twice.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias, cast

from scumble.errors import OptionError
from scumble_bench.work.pieces import Job, Piece
from scumble_bench.work.whole_files import PART, write_whole

__all__ = ["FAILURE", "Row", "Shelf", "open_shelf"]

Row: TypeAlias = dict[str, Any]

FAILURE = "failure"
"""The field of a row whose piece could not be done: the cause, in one line."""

FORMAT = 1
ASKED = "job.json"
ROWS = "rows"
ABANDONED = 600.0  # seconds; a row takes milliseconds to write, and another process may be at it
KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class Shelf:
    """The rows of a folder.

    Args:
        folder: where they are kept; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._rows = folder / ROWS

    def put(self, piece: Piece, row: Mapping[str, Any]) -> Row:
        """Keep a piece's row, in place of one that is there, and return it with its key.

        Args:
            piece: that was done.
            row: JSON; with a `failure` in it, the piece counts as not done.

        Raises:
            TypeError, ValueError: the row is no JSON; infinity and NaN are none.
            OSError: it cannot be written.
        """
        whole = {"key": piece.key, **row}
        kept = {"format": FORMAT, "payload": _digest(piece.payload), "row": whole}
        # Read back before it is written: who did a piece sees what any later process will see.
        text = json.dumps(kept, allow_nan=False)
        write_whole(self._path(piece), text.encode())
        return json.loads(text)["row"]

    def get(self, piece: Piece) -> Row | None:
        """Return a piece's row; None where there is none, or that of another piece by its name."""
        try:
            kept: Any = json.loads(self._path(piece).read_bytes())
        # Damaged, or never written.
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(kept, dict):
            return None
        found = cast("dict[str, Any]", kept)
        same = (FORMAT, _digest(piece.payload)) == (found.get("format"), found.get("payload"))
        return found["row"] if same else None

    def forget(self, piece: Piece) -> None:
        """Take a piece's row away, so that it is done again."""
        with suppress(FileNotFoundError):
            self._path(piece).unlink()

    def pending(self, pieces: Iterable[Piece]) -> list[Piece]:
        """Return the pieces that are still to be done, those that failed included, in order."""
        return [piece for piece in pieces if (row := self.get(piece)) is None or row.get(FAILURE)]

    def rows(self, pieces: Iterable[Piece]) -> list[Row]:
        """Return the rows that are there, those of failures included, in the order of pieces."""
        return [row for piece in pieces if (row := self.get(piece)) is not None]

    def _path(self, piece: Piece) -> Path:
        return self._rows / f"{piece.key}.json"


def open_shelf(job: Job) -> Shelf:
    """Return the shelf of a job, its folder made where it is missing.

    What a killed process left half-written is taken away once nobody can be at it any more; it is
    never read in any case.

    Raises:
        OptionError: a folder that cannot be used or holds rows of other settings, or keys that
            cannot be told apart.
    """
    _require_keys(job.pieces)
    try:
        (job.folder / ROWS).mkdir(parents=True, exist_ok=True)
        _require_settings(job)
        _clean(job.folder)
    except OSError as error:
        raise OptionError(
            f"'{job.folder}' cannot hold rows ({error.strerror or error}); name a folder that you "
            "may write to."
        ) from error
    return Shelf(job.folder)


def _require_keys(pieces: Sequence[Piece]) -> None:
    known: set[str] = set()
    for piece in pieces:
        if not KEY.fullmatch(piece.key):
            raise OptionError(
                f"{piece.key!r} cannot name a row; use up to 200 letters, digits, dots, dashes and "
                "underscores, no dot in front."
            )
        # Some file systems take upper and lower case for the same.
        if piece.key.casefold() in known:
            raise OptionError(f"two pieces are named {piece.key!r}; name each differently.")
        known.add(piece.key.casefold())


def _require_settings(job: Job) -> None:
    """Write down what the rows of a folder are made with, or compare it with what stands there."""
    path = job.folder / ASKED
    now = _plain({"format": FORMAT, "worker": job.worker, "settings": job.settings})
    if not path.exists():
        write_whole(path, json.dumps(now, indent=2, sort_keys=True).encode())
    try:
        then: Any = json.loads(path.read_bytes())
    except ValueError:
        then = None
    if then != now:
        raise OptionError(
            f"'{job.folder}' holds rows made with other settings ({_difference(then, now)}); name "
            "another folder, or delete that one."
        )


def _difference(then: Any, now: dict[str, Any]) -> str:
    """Return the first thing that two jobs differ in."""
    if not isinstance(then, dict) or not isinstance(then.get("settings"), dict):  # pyright: ignore[reportUnknownMemberType]
        return f"its {ASKED} is damaged"
    before, after = (
        {**{name: value for name, value in one.items() if name != "settings"}, **one["settings"]}
        for one in (cast("dict[str, Any]", then), now)
    )
    for name in {**after, **before}:
        old, new = before.get(name), after.get(name)
        if old != new:
            return f"{name} was {old!r} and is {new!r}"
    return "they are arranged in another way"


def _clean(folder: Path) -> None:
    now = time.time()
    for place in (folder, folder / ROWS):
        for path in place.glob(f".*{PART}"):
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > ABANDONED:
                    path.unlink()


def _plain(value: object) -> Any:
    """Return what JSON makes of a value: lists for tuples, and so on."""
    return json.loads(json.dumps(value, allow_nan=False))


def _digest(payload: Mapping[str, Any]) -> str:
    text = json.dumps(payload, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
