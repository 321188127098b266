"""PIE-Bench from wherever it lies, in whichever of its two layouts."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from scumble.errors import OptionError
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.parquet_mirror import load_mirror, mirror_files
from scumble_bench.evaluation.published_folder import MAPPING, load_folder

__all__ = ["fingerprint", "load_entries"]

INNER = "data"
"""The published archive has everything in a folder of this name."""


def load_entries(folder: Path) -> list[Entry]:
    """Return the entries of a folder: as published, or like the parquet mirror.

    Raises:
        OptionError: it is neither, or an entry is wrong; the message names it.
    """
    for place in (folder, folder / INNER):
        if (place / MAPPING).is_file():
            return load_folder(place)
        if mirror_files(place):
            return load_mirror(place)
    raise OptionError(
        f"'{folder}' has neither {MAPPING} nor folders such as '0_random_140' with parquet files; "
        "name the folder that PIE-Bench was unpacked in, or make a small set of the same shape: "
        "scumble eval --make-set FOLDER."
    )


def fingerprint(entries: Sequence[Entry]) -> str:
    """Return the sha256 of what the entries ask for; the pictures themselves are not read."""
    asked = [[e.id, e.kind, e.source, e.target, e.words, e.runs] for e in entries]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
