"""A line that names a PNG: the edit that made it, with what the line says in place of its own.

An edit is data, and a result holds it. Model and engine are the command's own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scumble.errors import ImageError
from scumble.masks import mask_name
from scumble.recipes import read_recipe
from scumble.rerun import Recorded

__all__ = ["fields_of_recipe"]


def fields_of_recipe(path: Path, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the fields of the edit that made a PNG, and what its sources were, by sha256.

    Args:
        path: of the PNG.
        given: fields of the line, in place of the recipe's; what was picture or mask then is not
            compared where another is given.

    Raises:
        ImageError: no recipe, none of a single edit, or a source that came from memory or is gone.
    """
    try:
        recorded = Recorded.model_validate(read_recipe(path))
    except ValidationError as error:
        part = ".".join(map(str, error.errors()[0]["loc"]))
        raise ImageError(f"the recipe in '{path}' has no usable {part!r}.") from None
    if recorded.operation != "edit" or recorded.before is not None:
        raise ImageError(
            f"'{path}' is no edit of a picture or of a prompt by itself; a list takes these only."
        )
    request = dict(recorded.request)
    fields: dict[str, Any] = {"target": request.pop("targets", None), **request}
    was: dict[str, str] = {}
    masks: dict[str, str] = {}
    for source, one in recorded.sources.items():
        name = mask_name(source)
        if ("picture" if name is None else "mask") in given:
            continue
        if one.path is None:
            raise ImageError(f"the {source} of '{path}' came from memory; give it in the line.")
        found = [p for p in (Path(one.path), path.parent / Path(one.path).name) if p.is_file()]
        if not found:
            raise ImageError(f"the {source} of '{path}' was {one.path!r}, which is gone.")
        was[source] = one.sha256
        if name is None:
            fields["picture"] = str(found[0].resolve())
        else:
            masks[name] = str(found[0].resolve())
    if masks:
        fields["mask"] = masks
    return {**fields, **given}, was
