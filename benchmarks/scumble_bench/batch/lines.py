"""A list of edits, as a file: JSON lines or CSV, read into fields by line."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from scumble.cli.settings import read_settings
from scumble.errors import OptionError, ScumbleError
from scumble.requests import EditRequest

__all__ = ["FIELDS", "Line", "Problem", "read_list"]

OWN = ("picture", "source", "target", "method", "options", "mask", "seed", "out", "recipe")
FIELDS = (*OWN, *(name for name in EditRequest.model_fields if name not in (*OWN, "targets")))
"""What a line may say: `recipe` names a PNG whose edit it is, the rest is as in Editor.edit."""

OPTION = "options."
NESTED = {"options", "further", "inversion_options", "masking_options", "size"}


@dataclass(frozen=True, slots=True)
class Line:
    """One edit as it stands in the file.

    Attributes:
        number: of the line that it begins on, from 1.
        fields: by name, unchecked.
    """

    number: int
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a line cannot be used.

    Attributes:
        number: of the line.
        said: one sentence.
    """

    number: int
    said: str


def read_list(path: Path) -> tuple[list[Line], list[Problem]]:
    """Return the lines of a list that can be read, and what is wrong with the others.

    Args:
        path: `.jsonl` with an object a line; or `.csv` with a heading, where an empty cell says
            nothing, `options.NAME` is an option as `--set` takes it, and lists and tables are JSON.

    Raises:
        OptionError: no such file, not one of these, or nothing in it.
    """
    readers = {".jsonl": _from_json, ".csv": _from_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise OptionError(f"a list is a .jsonl or a .csv; '{path}' is neither.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"'{path}' cannot be read ({reason}); name a list in UTF-8.") from error
    found = list(reader(text))
    if not found:
        raise OptionError(f"'{path}' has no edit in it; write one a line.")
    lines = [one for one in found if isinstance(one, Line)]
    return lines, [one for one in found if isinstance(one, Problem)]


def _from_json(text: str) -> Iterator[Line | Problem]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            fields: Any = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            yield Problem(number, f"is no JSON ({error}).")
            continue
        if not isinstance(fields, dict):
            yield Problem(number, "is no JSON object; write {...}.")
            continue
        yield _line(number, cast("dict[str, Any]", fields))


def _from_csv(text: str) -> Iterator[Line | Problem]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    heading: list[str] | None = None
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield Problem(number, f"is no CSV ({error}).")
            return
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if heading is None:
            heading = [cell.strip() for cell in cells]
            if len(set(heading)) != len(heading):
                yield Problem(number, "names a column twice.")
                return
        elif len(cells) > len(heading):
            yield Problem(number, f"has {len(cells)} cells and the heading {len(heading)}.")
        else:
            given = {name: cell for name, cell in zip(heading, cells, strict=False) if cell.strip()}
            try:
                fields = _from_cells(given)
            except ScumbleError as error:
                yield Problem(number, str(error))
                continue
            yield _line(number, fields)


def _from_cells(cells: Mapping[str, str]) -> dict[str, Any]:
    """Return fields from texts: what is nested is JSON, and so are several targets or masks."""
    fields: dict[str, Any] = {}
    settings: list[str] = []
    for name, cell in cells.items():
        if name.startswith(OPTION):
            settings.append(f"{name.removeprefix(OPTION)}={cell.strip()}")
        elif name in NESTED or (name in ("target", "mask") and cell.strip()[0] in "[{"):
            try:
                fields[name] = json.loads(cell, parse_constant=_refuse)
            except (ValueError, RecursionError) as error:
                raise OptionError(f"{name} is {cell!r}, which is no JSON ({error}).") from error
        else:
            fields[name] = cell
    if settings:
        if "options" in fields:
            raise OptionError(f"options and {OPTION}NAME are both given; give one of them.")
        method = str(fields.get("method", EditRequest.model_fields["method"].default))
        fields["options"] = read_settings(method, settings, "options")
    return fields


def _line(number: int, fields: dict[str, Any]) -> Line | Problem:
    odd = next((name for name in fields if name not in FIELDS), None)
    if odd is not None:
        return Problem(number, f"has the field {odd!r}; known are: {', '.join(FIELDS)}.")
    return Line(number, fields)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")
