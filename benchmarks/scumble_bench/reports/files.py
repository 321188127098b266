"""Files that are there whole or not at all."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["write_all"]


def write_all(folder: Path, files: Mapping[str, bytes], owned: Iterable[str]) -> list[Path]:
    """Write files into a folder and return their paths, in order.

    Each is written beside its place and then moved there, so that a reader sees the old or the new.

    Args:
        folder: is made where it is missing.
        files: name -> content.
        owned: names that an earlier report may have left; those that are not written now are
            removed, for they would tell of other data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # All before any is moved: a full disk then changes nothing.
    beside = {name: folder / f".{name}.{os.getpid()}" for name in files}
    try:
        for name, path in beside.items():
            path.write_bytes(files[name])
        for name, path in beside.items():
            path.replace(folder / name)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    for name in set(owned) - set(files):
        (folder / name).unlink(missing_ok=True)
    return [folder / name for name in files]
