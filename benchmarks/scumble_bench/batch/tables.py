"""What a list came to: a row an edit in its order, as JSON lines and as CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scumble.errors import OptionError
from scumble_bench.batch.edits import Edit
from scumble_bench.work.shelf import Row
from scumble_bench.work.whole_files import write_whole

__all__ = ["CELLS", "joined", "write_tables"]

CELLS = (
    "line", "key", "picture", "source", "targets", "method", "seed", "images", "row_count",
    "prepared", "seconds", "failure",
)  # fmt: skip


def joined(edits: Sequence[Edit], rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return rows that say what was asked beside what came of it.

    Args:
        edits: in order.
        rows: one of each, in the same order.
    """
    return [
        {
            "line": edit.number,
            "key": edit.name,
            "picture": None if edit.picture is None else str(edit.picture.path),
            "source": edit.request.source,
            "targets": list(edit.request.targets),
            "method": edit.request.method,
            "seed": edit.request.seed,
            **row,
        }
        for edit, row in zip(edits, rows, strict=True)
    ]


def write_tables(rows: Sequence[Row], out: Path) -> tuple[Path, Path]:
    """Write `rows.jsonl` and `rows.csv`, each whole or not at all, and return their paths.

    Raises:
        OptionError: the folder cannot be written to.
    """
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    cells = io.StringIO(newline="")
    table = csv.writer(cells)
    table.writerow(CELLS)
    table.writerows([_cell(row.get(name)) for name in CELLS] for row in rows)
    written = out / "rows.jsonl", out / "rows.csv"
    try:
        for path, data in zip(written, (text, cells.getvalue()), strict=True):
            write_whole(path, data.encode())
    except OSError as error:
        raise OptionError(f"'{out}' cannot be written to ({error.strerror}).") from error
    return written


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list) else value
