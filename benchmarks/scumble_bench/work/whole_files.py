"""Files that are there whole or not at all, also after a power cut."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

__all__ = ["PART", "write_whole"]

PART = ".part"
"""What a file ends in that is being written; it begins with a dot."""


def write_whole(path: Path, data: bytes) -> None:
    """Put bytes at a path: written beside it, synced, and renamed.

    Raises:
        OSError: they cannot be written; what was there before still is.
    """
    part = path.with_name(f".{secrets.token_hex(8)}{PART}")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
