"""PIE-Bench as parquet, laid out like its mirror PIE-Bench++ on the Hugging Face hub.

A folder for each type, whose name begins with the type's id (`1_change_object_80`), holds parquet
files (`V1-00000-of-00001.parquet`) of the columns in `COLUMNS`. A `mask` is text: the numbers of
the published list with blanks between them. `blended_words` is a JSON list of texts "before,after";
the mirror takes some edits apart into several, and the published protocol knows one, so the first
one counts. Other columns (`edit_action`, `aspect_mapping`) are not looked at.
"""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from scumble.errors import OptionError
from scumble.images import load_picture
from scumble_bench.evaluation.entries import Bytes, Entry, checked_entry, require_ids

__all__ = ["COLUMNS", "load_mirror", "mirror_files"]

COLUMNS = ("image", "id", "source_prompt", "target_prompt", "blended_words", "mask")
"""Those that are read. `image` is a table of `bytes` and `path`, as `datasets` stores pictures."""


def mirror_files(folder: Path) -> list[Path]:
    """Return the parquet files of a mirror, by type and name."""
    return sorted(folder.glob("[0-9]_*/*.parquet"))


def load_mirror(folder: Path) -> list[Entry]:
    """Return the entries of a mirror, type by type; a picture is decoded when it is asked for.

    Args:
        folder: that holds a folder for each type.

    Raises:
        OptionError: a column is missing, an entry is wrong (the message names it), or the extra
            `eval` is not installed.
    """
    entries = [entry for path in mirror_files(folder) for entry in _entries(path)]
    require_ids(str(folder), entries)
    return entries


def _entries(path: Path) -> list[Entry]:
    try:
        # Untyped, and an extra that the published folder does without.
        import pyarrow.parquet as untyped  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise OptionError(
            f"'{path}' is read with {error.name}, which is not installed: "
            "pip install 'scumble[eval]'."
        ) from None
    parquet: Any = untyped
    try:
        file = parquet.ParquetFile(path)
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise OptionError(
                f"'{path}' has no column {missing[0]!r}; wanted are {', '.join(COLUMNS)}."
            )
        rows = cast("list[dict[str, Any]]", file.read(columns=list(COLUMNS)).to_pylist())
    # pyarrow's own errors are subclasses of these.
    except (OSError, ValueError) as error:
        raise OptionError(f"'{path}' cannot be read as parquet: {error}.") from None
    return [_entry(path, number, row) for number, row in enumerate(rows)]


def _entry(path: Path, number: int, row: dict[str, Any]) -> Entry:
    id = row["id"]
    if not isinstance(id, str) or not id:
        raise OptionError(f"'{path}', row {number}: its id is {id!r}, and text is wanted.")
    image: Any = row["image"]
    data = cast("dict[str, Any]", image).get("bytes") if isinstance(image, dict) else image
    if not isinstance(data, bytes):
        raise OptionError(f"'{path}', entry {id!r}: its image holds no bytes of a picture.")
    return checked_entry(
        str(path),
        id=id,
        kind=path.parent.name[0],
        source=row["source_prompt"],
        target=row["target_prompt"],
        words=_words(path, id, row["blended_words"]),
        runs=_runs(path, id, row["mask"]),
        read=partial(_pixels, data),
    )


def _words(path: Path, id: str, text: object) -> list[str]:
    """Return the first pair of `["before,after", ...]`; nothing where a side of it is empty."""
    try:
        pairs: Any = json.loads(text) if isinstance(text, str) and text.strip() else []
    except ValueError:
        pairs = None
    if not isinstance(pairs, list) or not all(
        isinstance(pair, str) for pair in cast("list[object]", pairs)
    ):
        raise OptionError(
            f"'{path}', entry {id!r}: its blended_words are {text!r}, and a JSON list of "
            '"before,after" is wanted.'
        )
    first = cast("list[str]", pairs)[:1]
    words = [word.strip() for word in first[0].split(",")] if first else []
    return words if all(words) else []


def _runs(path: Path, id: str, text: object) -> list[object]:
    try:
        return [int(number) for number in cast("str", text).split()]
    except (AttributeError, ValueError):
        shown = repr(text)[:60]
        raise OptionError(
            f"'{path}', entry {id!r}: its mask is {shown}, and numbers with blanks between them "
            "are wanted."
        ) from None


def _pixels(data: bytes) -> Bytes:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(load_picture(image).pixels)
