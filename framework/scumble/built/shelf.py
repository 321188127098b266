"""What lies in the folder of built engines: how much it is, what has to go, what is set aside."""

import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scumble.built.entry import PART, SUFFIX, DamagedError, describe
from scumble.built.lock import LOCK

__all__ = ["QUARANTINE", "Entry", "Stored", "Usage", "drop", "entry_of", "make_room", "quarantine"]

QUARANTINE = "quarantine"
MOST = 4  # files in quarantine; they are there to be looked at, not to be used

# Seconds after which a file is nobody's any more. A part grows all the time it is written.
ABANDONED = {PART: 600.0, LOCK: 86400.0}


@dataclass(frozen=True, slots=True)
class Stored:
    """A file on the shelf.

    Attributes:
        path: where it lies.
        size: in bytes.
        used: when it was last used, in seconds since 1970.
    """

    path: Path
    size: int
    used: float

    @classmethod
    def among(cls, folder: Path, *suffixes: str) -> "list[Stored]":
        """Return the files of a folder with one of these suffixes, the longest unused first."""
        found: list[Stored] = []
        with suppress(FileNotFoundError), os.scandir(folder) as listed:
            for one in listed:
                with suppress(FileNotFoundError):  # another process took it away
                    if Path(one.name).suffix in suffixes:
                        state = one.stat(follow_symlinks=False)
                        found.append(cls(Path(one.path), state.st_size, state.st_mtime))
        return sorted(found, key=lambda one: (one.used, one.path))


@dataclass(frozen=True, slots=True)
class Entry:
    """A built engine in the cache, as it says of itself.

    Attributes:
        digest: of its key.
        size: in bytes, manifest included.
        used: when it was last used, in UTC.
        created: when it was built, in UTC; None where its manifest is damaged.
        key: the fields of its `BuildKey`; None likewise.
    """

    digest: str
    size: int
    used: str
    created: str | None
    key: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Usage:
    """How full the cache is.

    Attributes:
        entries: built engines.
        quarantined: files that were not what was written.
        bytes: of all of them.
    """

    entries: int
    quarantined: int
    bytes: int

    @classmethod
    def of(cls, place: Path) -> "Usage":
        """Return the usage of a folder of built engines, which may be missing."""
        entries = Stored.among(place, SUFFIX)
        aside = Stored.among(place / QUARANTINE, SUFFIX)
        return cls(len(entries), len(aside), _total([*entries, *aside]))


def entry_of(stored: Stored) -> Entry:
    """Return what an entry says of itself; its bytes are not looked at."""
    used = datetime.fromtimestamp(stored.used, UTC).isoformat(timespec="seconds")
    try:
        manifest = describe(stored.path)
    except (DamagedError, OSError):
        return Entry(stored.path.stem, stored.size, used, None, None)
    return Entry(stored.path.stem, stored.size, used, manifest.created, manifest.key)


def quarantine(place: Path, path: Path) -> None:
    """Move an entry aside, where nothing is ever read from; `make_room` bounds what lies there.

    Raises:
        OSError: it cannot be moved.
    """
    aside = place / QUARANTINE
    os.makedirs(aside, mode=0o700, exist_ok=True)
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    with suppress(FileNotFoundError):  # another process was faster
        os.replace(path, aside / f"{moment}-{secrets.token_hex(4)}-{path.name}")


def make_room(place: Path, path: Path, wanted: int, budget: int) -> None:
    """Drop what is abandoned, then what is longest unused, until an entry fits in.

    Quarantined files go before any entry, and the oldest of them in any case.

    Args:
        place: the folder of built engines.
        path: of the new entry; one that is there already is going to be replaced.
        wanted: bytes of the new entry.
        budget: bytes that everything may have together.

    Raises:
        OSError: the first error; one file that cannot be dropped does not keep the others.
    """
    first: OSError | None = None
    aside = sorted(Stored.among(place / QUARANTINE, SUFFIX), key=lambda one: one.path.name)
    surplus, aside = aside[:-MOST], aside[-MOST:]
    kept = [*aside, *(one for one in Stored.among(place, SUFFIX) if one.path != path)]
    over = _total(kept) + wanted - budget
    for one in (*_abandoned(place), *surplus, *_excess(kept, over)):
        try:
            drop(one.path)
        except OSError as error:
            first = first or error
    if first is not None:
        raise first


def drop(path: Path) -> None:
    """Take a file away, if it is still there; a folder of that name, too.

    Raises:
        OSError: it cannot be taken away.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    with suppress(FileNotFoundError):
        os.unlink(path)


def _abandoned(place: Path) -> list[Stored]:
    now = time.time()
    return [
        one
        for one in Stored.among(place, *ABANDONED)
        if now - one.used > ABANDONED[one.path.suffix]
    ]


def _excess(kept: Iterable[Stored], over: int) -> Iterator[Stored]:
    """Yield from the front until that many bytes are gone."""
    for one in kept:
        if over <= 0:
            return
        over -= one.size
        yield one


def _total(kept: Iterable[Stored]) -> int:
    return sum(one.size for one in kept)
