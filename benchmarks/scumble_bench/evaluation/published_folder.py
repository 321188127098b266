"""PIE-Bench as it was published: `mapping_file.json` beside `annotation_images/`."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.errors import OptionError
from scumble.images import load_picture
from scumble_bench.evaluation.entries import Bytes, Entry, checked_entry, require_ids

__all__ = ["MAPPING", "PICTURES", "load_folder"]

MAPPING = "mapping_file.json"
PICTURES = "annotation_images"
FIELDS = ("image_path", "original_prompt", "editing_prompt", "editing_type_id", "mask")
"""What an entry must have; `blended_word` may be missing, and anything else is not looked at."""


def load_folder(folder: Path) -> list[Entry]:
    """Return the entries of a published folder, in the order of its file.

    Pictures are read when they are asked for; that they are there is checked now.

    Args:
        folder: that holds the mapping file.

    Raises:
        OptionError: the file cannot be read, or an entry is wrong; the message names it.
    """
    path = folder / MAPPING
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"'{path}' cannot be read as JSON: {error}.") from None
    if not isinstance(found, dict):
        raise OptionError(f"'{path}' holds no table of entries by id; give PIE-Bench's own.")
    table = cast("dict[str, Any]", found)
    entries = [_entry(path, id, fields) for id, fields in table.items()]
    require_ids(str(path), entries)
    return entries


def _entry(path: Path, id: str, fields: Any) -> Entry:
    if not isinstance(fields, dict):
        raise OptionError(f"'{path}', entry {id!r}: it is no table of fields.")
    given = cast("Mapping[str, Any]", fields)
    missing = [name for name in FIELDS if name not in given]
    if missing:
        raise OptionError(f"'{path}', entry {id!r}: it has no {missing[0]!r}.")
    picture = path.parent / PICTURES / str(given["image_path"])
    if not picture.is_file():
        raise OptionError(f"'{path}', entry {id!r}: its picture '{picture}' is not there.")
    runs, words = given["mask"], given.get("blended_word", "")
    for name, value, kind in (("mask", runs, list), ("blended_word", words, str)):
        if not isinstance(value, kind):
            raise OptionError(
                f"'{path}', entry {id!r}: its {name} is {repr(value)[:60]}, and "
                f"{'a list of numbers' if kind is list else 'text'} is wanted."
            )
    return checked_entry(
        str(path),
        id=id,
        kind=given["editing_type_id"],
        source=given["original_prompt"],
        target=given["editing_prompt"],
        words=str(words).split(),
        runs=cast("list[object]", runs),
        read=partial(_pixels, picture),
    )


def _pixels(path: Path) -> Bytes:
    return np.asarray(load_picture(path).pixels)
