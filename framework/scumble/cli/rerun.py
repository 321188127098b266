"""`scumble rerun`: what made a picture, done again and compared with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from scumble.arrays import Array
from scumble.cli.checks import check_pictures, named_masks
from scumble.cli.files import check_outputs
from scumble.cli.flags import Output, grouped
from scumble.cli.output import working
from scumble.cli.results import tell
from scumble.errors import ImageError
from scumble.images import load_picture
from scumble.recipes import read_recipe, write_picture
from scumble.rerun import rerun as do_again

__all__ = ["compared", "rerun"]


@grouped
def rerun(
    *,
    file: Annotated[Path, typer.Argument(help="PNG that Scumble wrote.")],
    out: Annotated[Path, typer.Option(help="PNG to write.")],
    image: Annotated[Path | None, typer.Option(help="The source picture, if it has moved.")] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]FILE", help="The mask, if it has moved; repeat for several."),
    ] = None,
    output: Output,
) -> None:
    """Do again what made a picture, and say whether every bit is the same."""
    masks = named_masks(mask or [])
    check_outputs([("--out", out)], [file, image, *masks.values()])
    recipe = read_recipe(file)
    before = load_picture(file).pixels
    result = _result(file, recipe)
    if image is not None:
        check_pictures(image)
    with working(output) as work:
        work.stage("loading the model")
        run = do_again(file, image=image, mask=masks, callback_on_step_end=work.step)
        after = np.asarray(run.images[result])
        write_picture(out, after, {**run.recipe, "result": result})
    identical, verdict = compared(before, after)
    more: dict[str, Any] = {"identical": identical} if output.as_json else {"result": verdict}
    tell(output, run, work.seconds, [out], **more)


def _result(file: Path, recipe: Mapping[str, Any]) -> int:
    """Return which of a run's pictures a file is, from 0."""
    found: object = recipe.get("request")
    request = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    targets: object = request.get("targets")
    count = len(cast("list[Any]", targets)) if isinstance(targets, list) else 1
    result: object = recipe.get("result", 0)
    if type(result) is not int or not 0 <= result < count:
        raise ImageError(f"the recipe in '{file}' says it is result {result!r} of {count}.")
    return result


def compared(before: Array, after: Array) -> tuple[bool, str]:
    """Return whether two pictures are equal, and a sentence that says so."""
    if before.shape != after.shape:
        return False, "not the same: the picture in FILE has another size"
    difference = np.abs(before.astype(int) - after.astype(int))
    if not difference.any():
        return True, "bit-identical to FILE"
    share = float((difference.max(axis=-1) > 0).mean())
    worst = int(difference.max())
    return False, f"not bit-identical: {share:.1%} of the pixels differ, by {worst} of 255 at most"
