"""A line of a list, looked over as far as it can be without a model: an edit, or a problem."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from scumble.cli.files import result_paths
from scumble.cli.reporting import hushed
from scumble.errors import OptionError, ScumbleError
from scumble.images import Picture, load_picture
from scumble.masks import read_mask
from scumble.options import check_options
from scumble.prompts import require_text
from scumble.requests import EditRequest
from scumble.roles import cast_roles
from scumble_bench.batch.lines import Line, Problem
from scumble_bench.batch.recipe_lines import fields_of_recipe

__all__ = ["Edit", "File", "check_lines"]

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class File:
    """A picture or mask that an edit reads.

    Attributes:
        path: absolute.
        sha256: of its pixels.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Edit:
    """What a line asks for.

    Attributes:
        number: of the line.
        name: of the result, without `.png`.
        request: checked.
        picture: that is edited; None generates one.
        masks: by name; '' has none.
        inverts: whether the method leads the picture to noise by itself.
        was: sha256 of what a recipe was made from, by its name there; at the size of the run.
    """

    number: int
    name: str
    request: EditRequest
    picture: File | None = None
    masks: Mapping[str, File] = field(default_factory=dict[str, File])
    inverts: bool = False
    was: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def results(self) -> list[str]:
        """File names of its pictures."""
        paths = result_paths(Path(f"{self.name}.png"), len(self.request.targets))
        return [path.name for path in paths]


def check_lines(
    lines: Iterable[Line], folder: Path, out: Path, encode: Callable[[str], object]
) -> tuple[list[Edit], list[Problem]]:
    """Return the edits that a list asks for, and what is wrong with lines that ask for none.

    Args:
        lines: in order.
        folder: from which their paths are seen.
        out: folder for the results; nothing that is read may lie in their place.
        encode: cuts a prompt into tokens, or raises PromptError.
    """
    edits: list[Edit] = []
    problems: list[Problem] = []
    taken: dict[str, int] = {}
    for line in lines:
        try:
            edit = _checked(line, folder, encode)
            _require_free(edit, out, taken)
            edits.append(edit)
        except ScumbleError as error:
            problems.append(Problem(line.number, str(error)))
    return edits, problems


def _checked(line: Line, folder: Path, encode: Callable[[str], object]) -> Edit:
    fields = dict(line.fields)
    was: dict[str, str] = {}
    if "recipe" in fields:
        fields, was = fields_of_recipe(_path(fields.pop("recipe"), folder, "recipe"), fields)
    name = _name(fields.pop("out", f"edit-{line.number:04d}"))
    shown, painted = fields.pop("picture", None), fields.pop("mask", None)
    target = fields.pop("target", None)
    if target is None or "source" not in fields:
        raise OptionError("source or target is missing; say what is seen and what it is to be.")
    targets = [target] if isinstance(target, str) else target
    request = check_options(EditRequest, {**fields, "targets": targets}, "an edit")
    picture = None if shown is None else load_picture(_path(shown, folder, "picture"))
    masks = _masks(painted, picture, folder)
    _require_prompts(request, picture is not None, encode)
    with hushed():
        roles = cast_roles(request, request.method, picture is not None)
    if masks and roles.masking is not None:
        raise OptionError("a mask is given, and masking would make another; leave one out.")
    shown_at = None if picture is None else File(Path(str(picture.origin)), picture.sha256)
    return Edit(line.number, name, request, shown_at, masks, roles.method.inverts, was)


def _require_prompts(request: EditRequest, pictured: bool, encode: Callable[[str], object]) -> None:
    silent = pictured and not request.source
    for text in request.targets if silent else (request.source, *request.targets):
        require_text(text, "prompt")
    for text in (request.source, *request.targets, request.negative):
        encode(text)


def _masks(given: object, picture: Picture | None, folder: Path) -> dict[str, File]:
    """Return masks by name; one that is given as a path alone has none."""
    if given is None:
        return {}
    named = cast("dict[str, object]", given) if isinstance(given, dict) else {"": given}
    if picture is None:
        raise OptionError("a mask needs a picture of its size; give a picture too.")
    found: dict[str, File] = {}
    for name, value in named.items():
        path = _path(value, folder, "mask")
        found[name] = File(path, read_mask(path, picture.size).sha256)
    return found


def _path(given: object, folder: Path, what: str) -> Path:
    if not isinstance(given, str) or not given.strip():
        raise OptionError(f"{what} is {given!r}; give the path of a file.")
    return (folder / given).resolve()


def _name(given: object) -> str:
    name = given.removesuffix(".png") if isinstance(given, str) else ""
    if not NAME.fullmatch(name):
        raise OptionError(
            f"out is {given!r}; give a file name without folders, of up to 100 letters, digits, "
            "dots, dashes and underscores."
        )
    return name


def _require_free(edit: Edit, out: Path, taken: dict[str, int]) -> None:
    """Refuse a result in the place of another one, or of a file that is read; then take it."""
    read = {file.path for file in (edit.picture, *edit.masks.values()) if file is not None}
    for result in edit.results:
        # Some file systems take upper and lower case for the same.
        line = taken.get(result.casefold())
        if line is not None:
            raise OptionError(f"'{result}' is written by line {line} too; name another out.")
        if (out / result).resolve() in read:
            raise OptionError(f"'{result}' is a file that it reads; name another out.")
    taken.update(dict.fromkeys(map(str.casefold, edit.results), edit.number))
