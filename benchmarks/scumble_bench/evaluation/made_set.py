"""A set of PIE-Bench's shape, made from rooms, for where the real one is not at hand.

It holds the same entries twice: as the published folder has them, and as the parquet mirror does.
Pictures are the rooms' 128x128 pixels four times as large, with no pixel between them made up.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from scumble.errors import OptionError
from scumble_bench.evaluation.entries import KINDS, Bytes
from scumble_bench.evaluation.made_edits import MadeEdit, made_edits
from scumble_bench.evaluation.parquet_mirror import COLUMNS
from scumble_bench.evaluation.published_folder import MAPPING, PICTURES
from scumble_bench.evaluation.run_lengths import SIZE, encode
from scumble_bench.rooms import world

__all__ = ["FOLDER", "MIRROR", "id_of", "write_set"]

FOLDER, MIRROR = "folder", "parquet"
"""The two layouts: folders inside the one that is made."""
FACTOR = SIZE[0] // world.SIZE
QUALITY = 95


def write_set(folder: Path, each: int = 2) -> dict[str, Path]:
    """Write the set in both layouts, and return layout -> its folder.

    Args:
        folder: to be made; may be there, empty.
        each: entries of each of the ten types.

    Raises:
        OptionError: there is something in the folder, or the extra `eval` is not installed.
    """
    try:
        import pyarrow as untyped  # pyright: ignore[reportMissingTypeStubs]
        import pyarrow.parquet as writer  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise OptionError(
            f"the parquet half of the set needs {error.name}, which is not installed: "
            "pip install 'scumble[eval]'."
        ) from None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError(f"'{folder}' is there already; name a folder to be made.")
    arrow: Any = untyped
    parquet: Any = writer
    edits = made_edits(each)
    published, mirror = folder / FOLDER, folder / MIRROR
    mapping: dict[str, Any] = {}
    for kind, name in KINDS.items():
        mine = [edit for edit in edits if edit.kind == kind]
        inside = f"{kind}_{name.replace(' ', '_')}_{len(mine)}"
        (published / PICTURES / inside).mkdir(parents=True)
        (mirror / inside).mkdir(parents=True)
        rows: list[dict[str, Any]] = []
        for number, edit in enumerate(mine):
            picture = f"{inside}/{id_of(kind, number)}.jpg"
            data = _jpeg(edit.before)
            (published / PICTURES / picture).write_bytes(data)
            mapping[id_of(kind, number)] = _published(edit, picture)
            rows.append(_mirrored(edit, id_of(kind, number), data))
        file = mirror / inside / "V1-00000-of-00001.parquet"
        parquet.write_table(arrow.Table.from_pylist(rows), file)
    text = json.dumps(mapping, indent=1) + "\n"
    (published / MAPPING).write_text(text, encoding="utf-8")
    return {FOLDER: published, MIRROR: mirror}


def id_of(kind: str, number: int) -> str:
    """Return the twelve digits of an entry."""
    return f"{kind}{number:011d}"


def _published(edit: MadeEdit, picture: str) -> dict[str, Any]:
    return {
        "image_path": picture,
        "original_prompt": edit.source,
        "editing_prompt": edit.target,
        "editing_instruction": f"{KINDS[edit.kind]} (room {edit.seed})",
        "editing_type_id": edit.kind,
        "blended_word": edit.words,
        "mask": _runs(edit),
    }


def _mirrored(edit: MadeEdit, id: str, data: bytes) -> dict[str, Any]:
    pairs: Sequence[str] = [edit.words.replace(" ", ",")] if edit.words else []
    values = (
        {"bytes": data, "path": f"{id}.jpg"},
        id,
        edit.source,
        edit.target,
        json.dumps(pairs),
        " ".join(str(number) for number in _runs(edit)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _runs(edit: MadeEdit) -> list[int]:
    return encode(edit.mask.repeat(FACTOR, 0).repeat(FACTOR, 1))


def _jpeg(pixels: Bytes) -> bytes:
    large = Image.fromarray(pixels.repeat(FACTOR, 0).repeat(FACTOR, 1))
    file = io.BytesIO()
    large.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()
