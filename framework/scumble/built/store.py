"""The cache of built engines, as an engine uses it."""

import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scumble.built import entry
from scumble.built.folder import cache_budget, cache_folder, open_folder
from scumble.built.key import BuildKey
from scumble.built.lock import LOCK, locked
from scumble.built.shelf import (
    QUARANTINE,
    Entry,
    Stored,
    Usage,
    drop,
    entry_of,
    make_room,
    quarantine,
)
from scumble.errors import OptionError

__all__ = ["Built", "BuiltCache"]

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Built:
    """A built engine, and how it was come by.

    Attributes:
        data: the bytes to deserialize.
        built: True if this call built them, False if they came from the cache.
        cached: True if they lie in the cache now.
        notes: a sentence for each thing that went wrong; none of them is about `data`.
    """

    data: bytes
    built: bool
    cached: bool
    notes: tuple[str, ...] = ()


class BuiltCache:
    """Built engines on disk, bounded, safe to share between processes.

    Nothing is touched before the first call. What is wrong with the folder or the disk never
    stops a build: it becomes a note, and the engine goes uncached.

    Args:
        folder: the cache folder; None takes `cache_folder()`.
        budget_bytes: what all entries may have together; None takes `cache_budget()`.

    Raises:
        OptionError: SCUMBLE_CACHE_GB is no number.
    """

    def __init__(self, folder: Path | None = None, budget_bytes: int | None = None) -> None:
        self._folder = folder
        self.budget_bytes = cache_budget() if budget_bytes is None else budget_bytes

    @property
    def folder(self) -> Path:
        """The cache folder; raises OptionError where none is named and there is no home."""
        return cache_folder() if self._folder is None else self._folder

    def get(self, key: BuildKey, notes: list[str] | None = None) -> bytes | None:
        """Return the bytes of an entry, or None.

        They were read once and hashed where they lie in memory. An entry that is not as it was
        written is moved to quarantine.

        Args:
            key: what is wanted.
            notes: takes a sentence for each thing that went wrong.
        """
        notes = [] if notes is None else notes
        place = self._place(notes, make=False)
        return None if place is None else _read(place, key, notes)

    def get_or_build(
        self,
        key: BuildKey,
        build: Callable[[], bytes],
        progress: Callable[[str], None] = lambda stage: None,
    ) -> Built:
        """Return a built engine: the cached one, or one built now and kept.

        Args:
            key: what is wanted.
            build: makes the bytes; what it raises is passed on, and nothing is kept.
            progress: told what is done now, such as "building".
        """
        notes: list[str] = []
        place = self._place(notes, make=True)
        if place is None:
            progress("building")
            return Built(build(), built=True, cached=False, notes=tuple(notes))
        data = _read(place, key, notes)
        if data is not None:
            return Built(data, built=False, cached=True, notes=tuple(notes))
        lock = place / f"{key.digest}{LOCK}"
        with locked(lock, lambda: progress("waiting for another process to build it")) as trouble:
            again: list[str] = []
            data = _read(place, key, again)  # it may have come while we waited
            notes = notes or again  # what was wrong at the first look needs no second sentence
            if data is not None:
                return Built(data, built=False, cached=True, notes=tuple(notes))
            progress("building")
            data = build()
            progress("caching")
            cached = self._keep(place, key, data, notes)
        if cached and trouble is not None:
            notes.append(trouble)
        return Built(data, built=True, cached=cached, notes=tuple(notes))

    def reject(self, key: BuildKey, why: str) -> str:
        """Move an entry to quarantine whose bytes are right and of no use.

        Args:
            key: whose entry.
            why: goes on from "it", such as "was refused by the runtime".

        Returns:
            A sentence for the user.
        """
        notes: list[str] = []
        place = self._place(notes, make=False)
        if place is not None:
            _set_aside(place, _path(place, key.digest), why, notes)
        return " ".join(notes)

    def entries(self) -> tuple[Entry, ...]:
        """Return what is in the cache, the last used first.

        Raises:
            OptionError: the folder cannot be trusted or read.
        """
        place = open_folder(self.folder, make=False)
        with _reported():
            found = [] if place is None else Stored.among(place, entry.SUFFIX)
        return tuple(entry_of(one) for one in reversed(found))

    def usage(self) -> Usage:
        """Return how full the cache is.

        Raises:
            OptionError: the folder cannot be trusted or read.
        """
        place = open_folder(self.folder, make=False)
        with _reported():
            return Usage(0, 0, 0) if place is None else Usage.of(place)

    def remove(self, key: BuildKey | str) -> bool:
        """Remove an entry.

        Args:
            key: its key, or the key's digest.

        Returns:
            True if it was there.

        Raises:
            OptionError: no digest, or it cannot be removed.
        """
        digest = key if isinstance(key, str) else key.digest
        if not DIGEST.fullmatch(digest):
            raise OptionError(f"{digest!r} is no digest of a built engine; entries() lists them.")
        place = open_folder(self.folder, make=False)
        if place is None or not _path(place, digest).exists():
            return False
        with _reported():
            drop(_path(place, digest))
        return True

    def clear(self) -> Usage:
        """Remove everything, what is in quarantine and what was abandoned too.

        A process that builds meanwhile goes on, and may find that it cannot keep the result.

        Returns:
            What was there.

        Raises:
            OptionError: the folder cannot be trusted, or a file cannot be removed.
        """
        place = open_folder(self.folder, make=False)
        if place is None:
            return Usage(0, 0, 0)
        with _reported():
            found = Usage.of(place)
            for one in Stored.among(place, entry.SUFFIX, entry.PART, LOCK):
                drop(one.path)
            drop(place / QUARANTINE)
        return found

    def _place(self, notes: list[str], make: bool) -> Path | None:
        """Return the folder of built engines, or None and a note."""
        try:
            return open_folder(self.folder, make)
        except OptionError as error:
            notes.append(str(error))
            return None

    def _keep(self, place: Path, key: BuildKey, data: bytes, notes: list[str]) -> bool:
        """Put an entry into the cache; return False, with a note, where that cannot be."""
        path = _path(place, key.digest)
        pieces = entry.encode(key, data)
        size = sum(len(piece) for piece in pieces)
        if size > self.budget_bytes:
            notes.append(
                f"the built engine is not kept: it has {size} bytes and the cache may have "
                f"{self.budget_bytes}; SCUMBLE_CACHE_GB sets that."
            )
            return False
        try:
            make_room(place, path, size, self.budget_bytes)
        except OSError as error:
            notes.append(f"old files in '{place}' cannot be removed ({error.strerror}).")
        try:
            entry.write(path, pieces)
        except OSError as error:
            notes.append(f"the built engine cannot be kept in '{place}' ({error.strerror}).")
            return False
        try:
            entry.settle(place)
        except OSError as error:
            notes.append(f"the built engine may be lost in a power cut ({error.strerror}).")
        return True


def _path(place: Path, digest: str) -> Path:
    return place / f"{digest}{entry.SUFFIX}"


def _read(place: Path, key: BuildKey, notes: list[str]) -> bytes | None:
    """Return the bytes of an entry and mark it as used, or None, with a note if it is there."""
    path = _path(place, key.digest)
    try:
        data = entry.read(path, key)
    except FileNotFoundError:
        return None
    except OSError as error:
        notes.append(f"the cached engine '{path}' cannot be read ({error.strerror}).")
        return None
    except entry.DamagedError as error:
        _set_aside(place, path, str(error), notes)
        return None
    try:
        os.utime(path)
    except FileNotFoundError:
        pass  # another process made room; the bytes are here
    except OSError as error:
        notes.append(f"the cached engine '{path}' cannot be marked as used ({error.strerror}).")
    return data


def _set_aside(place: Path, path: Path, why: str, notes: list[str]) -> None:
    """Move an entry to quarantine, and say so."""
    try:
        quarantine(place, path)
    except OSError as error:
        notes.append(
            f"the cached engine '{path}' {why} and is not used, but cannot be moved to "
            f"quarantine ({error.strerror})."
        )
    else:
        notes.append(
            f"the cached engine '{path}' {why}; it is not used and was moved to "
            f"'{place / QUARANTINE}'."
        )


@contextmanager
def _reported() -> Generator[None]:
    """Turn what the disk says into an error for the user."""
    try:
        yield
    except OSError as error:
        raise OptionError(
            f"the cache cannot be used: '{error.filename}' ({error.strerror})."
        ) from error
