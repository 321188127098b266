"""One built engine as a file: a line that vouches for the manifest, the manifest, the bytes.

A single file, because it appears and disappears in one move; of a pair, one could be the other's
predecessor. The first line holds the manifest's length and sha256, the manifest those of the bytes,
so no bit of the file is unguarded:

    scumble-built 1 512 5d41...c592
    {"bytes": 1740, "created": ..., "format": 1, "key": {...}, "sha256": ..., "versions": {...}}
    <the bytes>

Other users cannot forge one: a file that is not this user's own is refused after it was opened,
so it does not matter what its name leads to a moment later.
"""

import hashlib
import json
import os
import re
import secrets
import stat
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import NonNegativeInt, ValidationError

from scumble.built.folder import WRITABLE
from scumble.built.key import BuildKey
from scumble.options import Options

__all__ = [
    "PART",
    "SUFFIX",
    "DamagedError",
    "Manifest",
    "describe",
    "encode",
    "read",
    "settle",
    "write",
]

SUFFIX = ".built"
PART = ".part"
LINE = re.compile(rb"scumble-built 1 ([1-9][0-9]{0,5}) ([0-9a-f]{64})\n")
LONGEST_LINE = 128  # bytes
BLOCK = 1 << 24  # bytes written at once, so that an interrupt is heard in between

# On platforms that lack one of these there is nothing to ask for.
READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # else a pipe of that name would be waited for
    | getattr(os, "O_BINARY", 0)
)
NEW = (
    os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
)


class DamagedError(Exception):
    """An entry is not what was written; its text says why, and goes on from "it"."""


class Manifest(Options):
    """What an entry says of itself.

    Attributes:
        format: of the entry.
        key: the fields of its `BuildKey`.
        sha256: of the bytes.
        bytes: how many there are.
        created: when, in UTC.
        versions: what wrote it.
    """

    format: Literal[1] = 1
    key: dict[str, Any]
    sha256: str
    bytes: NonNegativeInt
    created: str
    versions: dict[str, str]


def read(path: Path, key: BuildKey) -> bytes:
    """Return the bytes of an entry: read once, and hashed where they lie in memory.

    Args:
        path: the entry.
        key: what is asked for.

    Raises:
        DamagedError: anything about it is not as it was written, or it is another key's.
        OSError: it is not there, or cannot be read.
    """
    with _opened(path) as file:
        manifest, begin = _manifest(file)
        if manifest.key != key.as_json():
            raise DamagedError("was built for another key")
        size = os.fstat(file.fileno()).st_size
        if size != begin + manifest.bytes:
            raise DamagedError(f"has {size} bytes and was written with {begin + manifest.bytes}")
        data = file.read(manifest.bytes)
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise DamagedError("holds other bytes than were built")
    return data


def describe(path: Path) -> Manifest:
    """Return the manifest of an entry; its bytes are not looked at.

    Raises:
        DamagedError: the manifest is not as it was written.
        OSError: it is not there, or cannot be read.
    """
    with _opened(path) as file:
        return _manifest(file)[0]


def encode(key: BuildKey, data: bytes) -> tuple[bytes, bytes]:
    """Return what an entry consists of: its first line and manifest, and the bytes.

    Args:
        key: what they were built for.
        data: what was built.
    """
    manifest = Manifest(
        key=key.as_json(),
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"scumble": version("scumble")},
    )
    text = json.dumps(manifest.model_dump(), sort_keys=True).encode() + b"\n"
    line = f"scumble-built 1 {len(text)} {hashlib.sha256(text).hexdigest()}\n"
    return line.encode() + text, data


def write(path: Path, pieces: tuple[bytes, ...]) -> None:
    """Put an entry at the path, whole or not at all; `settle` makes it survive a power cut.

    Args:
        path: in an existing folder; what is there is replaced.
        pieces: of `encode`.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    part = path.with_name(f"{secrets.token_hex(16)}{PART}")
    try:
        _write_new(part, pieces)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise


def settle(folder: Path) -> None:
    """Have the names in a folder written to the disk.

    Raises:
        OSError: it could not be done.
    """
    if sys.platform == "win32":
        return  # a folder cannot be opened there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _opened(path: Path) -> BinaryIO:
    """Open a file that is this user's own and no link."""
    if path.is_symlink():
        raise DamagedError("is a link")
    handle = os.open(path, READ)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise DamagedError("is no file")
        if sys.platform != "win32" and found.st_uid != os.geteuid():
            raise DamagedError("belongs to another user")
        if sys.platform != "win32" and found.st_mode & WRITABLE:
            raise DamagedError("can be written by others")
    except BaseException:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def _manifest(file: BinaryIO) -> tuple[Manifest, int]:
    """Return the manifest and where the bytes begin."""
    line = LINE.fullmatch(file.readline(LONGEST_LINE))
    if line is None:
        raise DamagedError("begins with no line of a built engine")
    text = file.read(int(line[1]))
    if hashlib.sha256(text).hexdigest().encode() != line[2]:
        raise DamagedError("has another manifest than was written")
    try:
        return Manifest.model_validate_json(text), file.tell()
    except ValidationError as error:
        raise DamagedError("has a manifest that this version does not read") from error


def _write_new(path: Path, pieces: tuple[bytes, ...]) -> None:
    """Write a file that only this user can read, down to the disk."""
    handle = os.open(path, NEW, 0o600)
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(handle, rest[:BLOCK]) :]
        os.fsync(handle)
    finally:
        os.close(handle)
