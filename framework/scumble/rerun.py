"""A result's recipe carried out again: the same pictures, model and settings, or a refusal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from scumble.editor import Editor
from scumble.errors import ImageError, ModelError
from scumble.images import PictureLike
from scumble.options import check_options
from scumble.recipes import read_recipe
from scumble.requests import REQUESTS, EngineRequest
from scumble.runs import Run
from scumble.sampler import Progress

__all__ = ["rerun"]


def rerun(
    path: str | Path,
    *,
    image: PictureLike | None = None,
    mask: PictureLike | None = None,
    callback_on_step_end: Callable[[Progress], None] | None = None,
) -> Run:
    """Do again what made a PNG; on the same machine and thread count, bit for bit.

    Args:
        path: a PNG that Scumble wrote.
        image: the source picture, if it is no longer where the recipe says.
        mask: likewise.
        callback_on_step_end: told of each step.

    Raises:
        ImageError: no recipe, or a source picture that is missing or another one.
        ModelError: the model has changed since.
    """
    recipe = read_recipe(path)
    _require_whole(path, recipe)
    operation, request = recipe["operation"], dict(recipe["request"])
    sources: Mapping[str, Any] = recipe["sources"]
    with Editor.load(**recipe["model"]) as editor:
        _require_model(editor, recipe)
        progress = {"callback_on_step_end": callback_on_step_end}
        if operation == "generate":
            run = editor.generate(request.pop("prompt"), **progress, **request)
        else:
            picture = _source(path, sources, "image", image)
            source = request.pop("source")
            if operation == "invert":
                assert picture is not None
                run = editor.invert(picture, source, **progress, **request)
            else:
                targets = request.pop("targets")
                painted = _source(path, sources, "mask", mask)
                run = editor.edit(
                    picture, source=source, target=targets, mask=painted, **progress, **request
                )
    for name, was in sources.items():
        if run.recipe["sources"][name]["sha256"] != was["sha256"]:
            raise ImageError(f"the {name} of {path} was another one; give the original.")
    return run


class RecordedSource(BaseModel):
    """Where a picture came from, and what it was."""

    path: str | None
    sha256: str


class Recorded(BaseModel):
    """What a recipe must hold to be carried out again; a file can hold anything."""

    operation: Literal["edit", "generate", "invert"]
    request: dict[str, Any]
    model: dict[str, Any]
    sources: dict[Literal["image", "mask"], RecordedSource]
    provenance: dict[str, Any]


def _require_whole(path: str | Path, recipe: Mapping[str, Any]) -> None:
    try:
        recorded = Recorded.model_validate(recipe)
    except ValidationError as error:
        part = ".".join(map(str, error.errors()[0]["loc"]))
        raise ImageError(
            f"the recipe in {path} has no usable {part!r}; use the file that Scumble wrote."
        ) from None
    of = f"the recipe in {path}"
    check_options(REQUESTS[recorded.operation], recorded.request, of)
    check_options(EngineRequest, recorded.model, of)
    if recorded.operation == "invert" and "image" not in recorded.sources:
        raise ImageError(f"{of} names no picture to invert; use the file that Scumble wrote.")


def _require_model(editor: Editor, recipe: Mapping[str, Any]) -> None:
    now = editor.session.checkpoint.fingerprint()
    then = str(recipe["provenance"].get("model_sha256"))
    if now != then:
        raise ModelError(
            f"model {recipe['model'].get('model')!r} has other weights than when this was made "
            f"({now[:12]} now, {then[:12]} then)."
        )


def _source(
    path: str | Path, sources: Mapping[str, Any], name: str, given: PictureLike | None
) -> PictureLike | None:
    """Return where a source picture is: as given, as recorded, or beside the result."""
    if given is not None or name not in sources:
        return given
    recorded = sources[name]["path"]
    if recorded is None:
        raise ImageError(f"the {name} of {path} came from memory; give it with {name}=.")
    found = [p for p in (Path(recorded), Path(path).parent / Path(recorded).name) if p.is_file()]
    if not found:
        raise ImageError(f"the {name} of {path} was {recorded!r}, which is gone; give {name}=.")
    return found[0]
