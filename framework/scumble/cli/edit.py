"""`scumble edit`: a picture, or a generated one, changed from a source prompt to target prompts."""

from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from scumble.cli.checks import (
    check_pictures,
    check_plugin,
    check_prompts,
    check_request,
    first_with,
    named_masks,
)
from scumble.cli.files import check_outputs, result_paths, write_beside
from scumble.cli.flags import Inverting, Loading, Out, Output, Sampling, grouped
from scumble.cli.output import working
from scumble.cli.results import tell
from scumble.cli.settings import read_further, read_settings
from scumble.editor import Editor
from scumble.errors import OptionError
from scumble.requests import EditRequest
from scumble.runs import Run
from scumble.strips import strip

__all__ = ["edit"]

DIRECT = str(EditRequest.model_fields["inversion"].default)
READABLE = 256  # pixels: a strip's pictures are enlarged to about this width


@grouped
def edit(
    *,
    image: Annotated[
        Path | None, typer.Argument(help="Picture to edit; without one the source is generated.")
    ] = None,
    source: Annotated[str, typer.Option(help="Describes the picture as it is.")],
    target: Annotated[
        list[str], typer.Option(help="Describes what it is to become; repeat for several.")
    ],
    out: Out,
    method: Annotated[
        str, typer.Option(metavar="PLUGIN", help="Plugin that edits.")
    ] = "prompt_to_prompt",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="An option of that plugin, such as blend_words=cat,dog or reweight.fluffy=2; "
            "`scumble schema plugin:NAME` shows them.",
        ),
    ] = None,
    further: Annotated[
        list[str] | None,
        typer.Option(metavar="PLUGIN", help="One more plugin that edits, asked after that."),
    ] = None,
    further_set: Annotated[
        list[str] | None,
        typer.Option(metavar="PLUGIN.KEY=VALUE", help="An option of one of these."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]FILE",
            help="Picture of the same size, white where it may change; with names, the masks of a "
            "method that takes several.",
        ),
    ] = None,
    masking: Annotated[
        str | None,
        typer.Option(
            metavar="PLUGIN", help="Plugin that makes the mask, in place of --mask: diffedit."
        ),
    ] = None,
    masking_set: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="An option of that plugin."),
    ] = None,
    strip_out: Annotated[
        Path | None, typer.Option("--strip", help="PNG for a before/after strip.")
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="WORD", help="Show where a word looked; with --map-out."),
    ] = None,
    map_out: Annotated[
        list[Path] | None, typer.Option(help="PNG for the heat map over the picture.")
    ] = None,
    sampling: Sampling,
    inverting: Inverting,
    loading: Loading,
    output: Output,
) -> None:
    """Edit a picture, or a generated one, from a source prompt to target prompts."""
    overlays = _paired(words or [], map_out or [])
    paths = result_paths(out, len(target))
    beside = [("--map-out", path) for path in overlays]
    if strip_out is not None:
        beside.append(("--strip", strip_out))
    masks = named_masks(mask or [])
    check_outputs([*(("--out", path) for path in paths), *beside], (image, *masks.values()))
    request: dict[str, Any] = {
        "method": method,
        "options": read_settings(method, settings or []),
        "further": read_further(further or [], further_set or []),
        **sampling.fields(),
        **inverting.fields(DIRECT),
    }
    if masking is not None:
        making = read_settings(masking, masking_set or [], "--masking-set")
        request |= {"masking": masking, "masking_options": making}
    elif masking_set:
        raise OptionError("--masking-set is given and no --masking; name the plugin.")
    check_request("edit", {"source": source, "targets": target, **request})
    check_pictures(image, masks.values())
    for name, options in {method: request["options"], **request["further"]}.items():
        check_plugin(name, options)
    if masking is not None:
        check_plugin(masking, request["masking_options"])
    if image is not None:
        check_plugin(request["inversion"], request.get("inversion_options", {}))
    said = [source, *target]
    prompts = check_prompts(loading, said, sampling.negative, silent=image is not None)
    looked = {path: (word, first_with(word, prompts)) for path, word in overlays.items()}
    with working(output) as work:
        work.stage("loading the model")
        with Editor.load(**loading.fields()) as editor:
            work.stage("inverting" if image is not None else "sampling")
            run = editor.edit(
                image,
                source=source,
                target=target,
                mask=masks,
                callback_on_step_end=work.step,
                **request,
            )
            work.stage("reading maps")
            extra = {path: _overlay(run, *which) for path, which in looked.items()}
        if strip_out is not None:
            extra[strip_out] = _strip(run, [source, *target])
        run.save(out)
        write_beside(extra, paths)
    maps = {word: path for path, (word, _) in looked.items()}
    tell(output, run, work.seconds, paths, strip=strip_out, maps=maps or None)


def _paired(words: list[str], paths: list[Path]) -> dict[Path, str]:
    if len(words) != len(paths):
        raise OptionError(
            f"{len(words)} --map and {len(paths)} --map-out; give each --map WORD a --map-out FILE."
        )
    if len(set(paths)) != len(paths):
        raise OptionError("two --map-out name the same file; name another one.")
    return dict(zip(paths, words, strict=True))


def _overlay(run: Run, word: str, picture: int) -> Image.Image:
    below = run.images[picture - 1] if picture else run.source
    return run.maps.of(word, picture).overlay(below)


def _strip(run: Run, labels: list[str]) -> Image.Image:
    images = [run.source, *run.images]
    return strip(images, labels, scale=max(1, round(READABLE / images[0].width)))
