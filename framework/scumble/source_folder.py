"""Recorded source state on disk: one folder a source, one archive a step."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.arrays import Array

__all__ = ["SourceFolder"]


class SourceFolder:
    """Archives of arrays, by source and name; what cannot be written or read is not remembered.

    Args:
        folder: made if it does not exist, for its owner alone.
        model: what the content depends on beside the source.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._folder = folder / hashlib.sha256(model.encode()).hexdigest()[:16]

    def names(self, key: str) -> set[str]:
        """Return what is stored of a source."""
        return {path.stem for path in (self._folder / key).glob("*.npz")}

    def read(self, key: str, name: str) -> dict[str, Array] | None:
        """Return the arrays, or None; a damaged archive is removed."""
        path = self._path(key, name)
        try:
            # Opened here, for numpy leaves a file open that turns out not to be an archive.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {entry: archive[entry] for entry in archive.files}
        # A zip checks every member against its CRC, so damage ends here and not in a picture.
        except (ValueError, zipfile.BadZipFile, EOFError, KeyError):
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None

    def write(self, key: str, name: str, arrays: Mapping[str, Array]) -> None:
        """Store arrays in one move; a disk that is full or read-only stores nothing."""
        path = self._path(key, name)
        draft: str | None = None
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, draft = tempfile.mkstemp(prefix=".draft-", dir=path.parent)
            with os.fdopen(number, "wb") as file:
                np.savez(file, **cast("Any", dict(arrays)))
            os.replace(draft, path)
        except OSError:
            if draft is not None:
                Path(draft).unlink(missing_ok=True)

    def _path(self, key: str, name: str) -> Path:
        return self._folder / key / f"{name}.npz"
