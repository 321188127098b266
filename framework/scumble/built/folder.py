"""Where built engines lie, and whether that place can be trusted.

A serialized engine is executable code, so the folder must belong to this user and be closed to the
writing of others.
"""

import os
import stat
import sys
from pathlib import Path

from scumble.errors import OptionError

__all__ = ["BUILT", "cache_budget", "cache_folder", "check_trusted", "open_folder"]

BUILT = "built"  # beside it in the cache folder there is room for other things
BUDGET_GB = 20.0
WRITABLE = stat.S_IWGRP | stat.S_IWOTH
ELSEWHERE = "set SCUMBLE_CACHE_DIR to another folder"


def cache_folder() -> Path:
    """Return the cache folder: SCUMBLE_CACHE_DIR, else the one the platform has for a user.

    Raises:
        OptionError: this user has no home folder.
    """
    given = os.environ.get("SCUMBLE_CACHE_DIR")
    if given:
        return Path(given)
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "scumble"
        if sys.platform == "darwin":
            return Path.home() / "Library/Caches/scumble"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scumble"
    except RuntimeError as error:
        raise OptionError(
            "this user has no home folder to cache built engines in; set SCUMBLE_CACHE_DIR."
        ) from error


def cache_budget() -> int:
    """Return how many bytes of built engines are kept: SCUMBLE_CACHE_GB, else 20 GB.

    Raises:
        OptionError: the variable is no number from 0 up.
    """
    given = os.environ.get("SCUMBLE_CACHE_GB") or str(BUDGET_GB)
    try:
        return _bytes(float(given))
    except (ValueError, OverflowError) as error:
        raise OptionError(
            f"SCUMBLE_CACHE_GB is {given!r}; give the gigabytes to keep, or 0 to keep none."
        ) from error


def open_folder(cache: Path, make: bool) -> Path | None:
    """Return the folder of built engines inside a cache folder, trusted.

    Args:
        cache: the cache folder; a link to one will do.
        make: make what is missing, closed to everybody else.

    Returns:
        The folder, or None where it is missing and not to be made.

    Raises:
        OptionError: it cannot be made, or others could have written to it.
    """
    place = cache / BUILT
    if make:
        try:
            os.makedirs(cache, mode=0o700, exist_ok=True)
            os.makedirs(place, mode=0o700, exist_ok=True)
        except OSError as error:
            raise OptionError(
                f"the cache '{place}' cannot be made ({error.strerror}); {ELSEWHERE}."
            ) from error
    elif not os.path.lexists(cache):
        return None
    check_trusted(cache)
    if not os.path.lexists(place):
        return None
    if place.is_symlink():
        raise OptionError(f"the cache '{place}' is a link, which is not followed; remove it.")
    check_trusted(place)
    return place


def check_trusted(folder: Path) -> None:
    """Raise OptionError unless this is a folder of this user that nobody else may write to."""
    try:
        found = os.stat(folder)
    except OSError as error:
        raise OptionError(
            f"the cache '{folder}' cannot be used ({error.strerror}); {ELSEWHERE}."
        ) from error
    if not stat.S_ISDIR(found.st_mode):
        raise OptionError(f"the cache '{folder}' is no folder; set SCUMBLE_CACHE_DIR to one.")
    if sys.platform == "win32":
        return  # its permissions are not in the mode
    if found.st_uid != os.geteuid():
        raise OptionError(f"the cache '{folder}' belongs to another user; {ELSEWHERE}.")
    if found.st_mode & WRITABLE:
        raise OptionError(
            f"others may write to the cache '{folder}', and it holds code; empty it and run: "
            f"chmod 700 '{folder}'."
        )


def _bytes(gigabytes: float) -> int:
    if gigabytes < 0:
        raise ValueError("negative")
    return int(gigabytes * 1e9)
