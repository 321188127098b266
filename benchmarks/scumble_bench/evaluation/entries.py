"""An entry of PIE-Bench: a picture, what it shows, what it is to become, and where."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from scumble.errors import OptionError
from scumble_bench.evaluation import run_lengths
from scumble_bench.evaluation.run_lengths import Bools

__all__ = ["KINDS", "Entry", "checked_entry", "require_ids", "stripped"]

Bytes: TypeAlias = NDArray[np.uint8]

KINDS = {
    "0": "random",
    "1": "change object",
    "2": "add object",
    "3": "delete object",
    "4": "change content",
    "5": "change pose",
    "6": "change colour",
    "7": "change material",
    "8": "change background",
    "9": "change style",
}
"""The ten types of PIE-Bench, by the id that entries give."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture to edit.

    Attributes:
        id: no other entry of the set has it.
        kind: the id of its type, a key of `KINDS`.
        source: describes the picture, without brackets.
        target: describes what it is to become, without brackets.
        words: the thing before and after, or None; methods that blend by words take these.
        runs: the mask as `run_lengths` reads it.
        read: returns the picture, (h, w, 3) uint8, whenever it is called.
    """

    id: str
    kind: str
    source: str
    target: str
    words: tuple[str, str] | None
    runs: tuple[int, ...] = field(repr=False)
    read: Callable[[], Bytes] = field(repr=False, compare=False)

    @property
    def mask(self) -> Bools:
        """(512, 512) bool without the border: where the picture is to change."""
        return run_lengths.decode(self.runs)


def stripped(prompt: str) -> str:
    """Return a prompt without the brackets around the words that differ."""
    return prompt.replace("[", "").replace("]", "")


def checked_entry(
    where: str,
    *,
    id: str,
    kind: object,
    source: object,
    target: object,
    words: Sequence[str],
    runs: Sequence[object],
    read: Callable[[], Bytes],
) -> Entry:
    """Return an entry, or raise OptionError that says which one is wrong and in what.

    Args:
        where: the file, for messages.
        id: of the entry.
        kind: the type's id.
        source: prompt, brackets and all.
        target: likewise.
        words: the thing before and after; none are none, of more than two the first two count, as
            in the script of PnP Inversion.
        runs: of the mask.
        read: returns the picture.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise _wrong(where, id, f"its type is {kind!r}, and types are '0' to '9'")
    for name, prompt in (("source", source), ("target", target)):
        if not isinstance(prompt, str) or not stripped(prompt).strip():
            raise _wrong(where, id, f"its {name} prompt is {prompt!r}, and text is wanted")
    if len(words) == 1:
        raise _wrong(where, id, f"its blended word is {words[0]!r} alone; give two, or none")
    whole = [number for number in runs if isinstance(number, int) and not isinstance(number, bool)]
    if len(whole) < len(runs):
        odd = next(n for n in runs if not isinstance(n, int) or isinstance(n, bool))
        raise _wrong(where, id, f"its mask has {odd!r}, and whole numbers are wanted")
    try:
        run_lengths.decode(whole)
    except ValueError as error:
        raise _wrong(where, id, f"its mask cannot be read: {error}") from None
    pair = (words[0], words[1]) if words else None
    said = stripped(str(source)), stripped(str(target))
    return Entry(id, kind, *said, pair, tuple(whole), read)


def require_ids(where: str, entries: Sequence[Entry]) -> None:
    """Raise OptionError if there are no entries, or two of one id."""
    if not entries:
        raise OptionError(f"'{where}' holds no entry; name the folder that PIE-Bench was put in.")
    known: set[str] = set()
    for entry in entries:
        if entry.id in known:
            raise _wrong(where, entry.id, "another entry has the same id")
        known.add(entry.id)


def _wrong(where: str, id: str, what: str) -> OptionError:
    return OptionError(f"'{where}', entry {id!r}: {what}.")
