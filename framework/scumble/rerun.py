"""A result's recipe carried out again: the same pictures, model and settings, or a refusal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from scumble.editor import Editor
from scumble.errors import ImageError, ModelError, OptionError
from scumble.images import PictureLike, masks_by_name
from scumble.masks import SOURCE_NAMES, MaskLike, mask_name
from scumble.options import check_options
from scumble.recipes import read_recipe
from scumble.requests import REQUESTS, EngineRequest
from scumble.runs import Run
from scumble.sampler import Progress

__all__ = ["rerun"]

Given = TypeVar("Given")


def rerun(
    path: str | Path,
    *,
    image: PictureLike | None = None,
    mask: MaskLike | Mapping[str, MaskLike] | None = None,
    callback_on_step_end: Callable[[Progress], None] | None = None,
) -> Run:
    """Do again what made a PNG; on the same machine and thread count, bit for bit.

    Args:
        path: a PNG that Scumble wrote.
        image: the source picture, if it is no longer where the recipe says.
        mask: likewise; several by their names.
        callback_on_step_end: told of each step.

    Raises:
        ImageError: no recipe, or a source picture that is missing or another one.
        ModelError: the model has changed since.
        OptionError: a mask that the run did not have.
    """
    recipe = read_recipe(path)
    _require_whole(path, recipe)
    given = masks_by_name(mask)
    with Editor.load(**recipe["model"]) as editor:
        return _again(editor, path, recipe, image, given, callback_on_step_end)


def _again(
    editor: Editor,
    path: str | Path,
    recipe: Mapping[str, Any],
    image: PictureLike | None,
    masks: Mapping[str, MaskLike],
    callback: Callable[[Progress], None] | None,
) -> Run:
    """Carry out a recipe, and before it that of the run that it goes on from."""
    _require_model(editor, recipe)
    operation, request = recipe["operation"], dict(recipe["request"])
    sources: Mapping[str, Any] = recipe["sources"]
    progress = {"callback_on_step_end": callback}
    if operation == "generate":
        run = editor.generate(request.pop("prompt"), **progress, **request)
    elif operation == "invert":
        picture = _source(path, sources, "image", image)
        assert picture is not None
        run = editor.invert(picture, request.pop("source"), **progress, **request)
    else:
        before = recipe.get("before")
        start = (
            _source(path, sources, "image", image)
            if before is None
            else _again(editor, path, before, image, {}, callback)
        )
        source, targets = request.pop("source"), request.pop("targets")
        painted = _masks(path, sources, masks)
        run = editor.edit(start, source=source, target=targets, mask=painted, **progress, **request)
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
    sources: dict[Annotated[str, Field(pattern=SOURCE_NAMES)], RecordedSource]
    provenance: dict[str, Any]
    before: dict[str, Any] | None = None


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
    if recorded.before is not None:
        _require_whole(path, recorded.before)
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


def _masks(
    path: str | Path, sources: Mapping[str, Any], given: Mapping[str, MaskLike]
) -> dict[str, MaskLike]:
    """Return where the masks of a recipe are, by their names."""
    known = {name: source for source in sources if (name := mask_name(source)) is not None}
    odd = next((name for name in given if name not in known), None)
    if odd is not None:
        which = f"mask {odd!r}" if odd else "mask without a name"
        has = ", ".join(repr(name) for name in known if name) or "none with a name"
        raise OptionError(f"what made {path} had no {which}; it had: {has}.")
    return {
        name: given[name] if name in given else _recorded(path, sources, source)
        for name, source in known.items()
    }


def _source(
    path: str | Path, sources: Mapping[str, Any], name: str, given: Given | None
) -> Given | Path | None:
    """Return where a source picture is: as given, or as recorded; None if there was none."""
    if given is not None or name not in sources:
        return given
    return _recorded(path, sources, name)


def _recorded(path: str | Path, sources: Mapping[str, Any], name: str) -> Path:
    """Return where a recorded file is now: where it was, or beside the result."""
    recorded = sources[name]["path"]
    mask = mask_name(name)
    give = f"mask={{{mask!r}: ...}}" if mask else f"{name}="
    if recorded is None:
        raise ImageError(f"the {name} of {path} came from memory; give it with {give}.")
    found = [p for p in (Path(recorded), Path(path).parent / Path(recorded).name) if p.is_file()]
    if not found:
        raise ImageError(f"the {name} of {path} was {recorded!r}, which is gone; give {give}.")
    return found[0]
