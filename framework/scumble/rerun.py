"""A result's recipe carried out again: the same pictures, model and settings, or a refusal."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scumble.editor import Editor, PictureLike
from scumble.errors import ImageError, ModelError
from scumble.recipes import read_recipe
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


def _require_model(editor: Editor, recipe: Mapping[str, Any]) -> None:
    now = editor.session.checkpoint.fingerprint()
    if now != recipe["provenance"]["model_sha256"]:
        raise ModelError(
            f"model {recipe['model']['model']!r} has other weights than when this was made "
            f"({now[:12]} now, {recipe['provenance']['model_sha256'][:12]} then)."
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
