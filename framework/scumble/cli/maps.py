"""`scumble maps`: where the words of a prompt look, in a real picture or a generated one."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from scumble.cli.checks import check_pictures, check_plugin, check_prompts, check_request
from scumble.cli.files import check_folder, check_outputs, slugs, write_beside
from scumble.cli.flags import Inverting, Loading, Output, Sampling, grouped
from scumble.cli.output import Work, working
from scumble.cli.results import tell
from scumble.editor import Editor
from scumble.errors import OptionError
from scumble.runs import Run

__all__ = ["maps"]

# The recorded latents are those of the picture itself; a free way back would drift from it.
INVERSION = "direct"
KINDS = ("heat", "overlay", "mask")


@grouped
def maps(
    *,
    image: Annotated[
        Path | None, typer.Argument(help="Picture to read; without one it is generated.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="Describes the picture.")],
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--word",
            metavar="WORD",
            help="A word or phrase of the prompt; repeat for several.",
            show_default="every word",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the maps.")],
    threshold: Annotated[
        float, typer.Option(help="Share of the maximum above which a place is in the mask.")
    ] = 0.3,
    sampling: Sampling,
    inverting: Inverting,
    loading: Loading,
    output: Output,
) -> None:
    """Write where words look in a picture: heat map, overlay and mask of each."""
    if not 0 <= threshold <= 1:
        raise OptionError(f"--threshold is {threshold}; give a share of the maximum, 0 to 1.")
    check_folder("--out", out)
    request = sampling.fields()
    if image is None:
        check_request("generate", {"prompt": prompt, **request})
    else:
        request |= inverting.fields(INVERSION)
        check_request("invert", {"source": prompt, **request})
        check_pictures(image)
        check_plugin(request["inversion"], request.get("inversion_options", {}))
    (tokens,) = check_prompts(loading, [prompt], sampling.negative)
    wanted = list(dict.fromkeys(words or (word.text for word in tokens.words)))
    for word in wanted:
        tokens.tokens_of(word)
    named = {
        word: {kind: out / f"{slug}-{kind}.png" for kind in KINDS}
        for word, slug in zip(wanted, slugs(wanted), strict=True)
    }
    picture = [] if image is not None else [out / "picture.png"]
    files = [path for kinds in named.values() for path in kinds.values()]
    if out.is_dir():
        check_outputs([("--out", path) for path in (*files, *picture)], [image])
    with working(output) as work:
        run, pictures = _read(work, loading, image, prompt, request, named, threshold)
        out.mkdir(exist_ok=True)
        for path in picture:
            run.save(path)
        write_beside(pictures, picture)
    tell(output, run, work.seconds, picture, maps=named)


def _read(
    work: Work,
    loading: Loading,
    image: Path | None,
    prompt: str,
    request: dict[str, Any],
    named: dict[str, dict[str, Path]],
    threshold: float,
) -> tuple[Run, dict[Path, Image.Image]]:
    work.stage("loading the model")
    pictures: dict[Path, Image.Image] = {}
    with Editor.load(**loading.fields()) as editor:
        if image is None:
            run = editor.generate(prompt, callback_on_step_end=work.step, **request)
        else:
            work.stage("inverting")
            run = editor.invert(image, prompt, callback_on_step_end=work.step, **request)
        size = (run.source.height, run.source.width)
        for word, paths in named.items():
            work.stage(f"reading {word!r}")
            read = run.maps.of(word, 0)
            bits = read.mask(threshold, size).astype(np.uint8) * 255
            made = (read.heat(size), read.overlay(run.source), Image.fromarray(bits))
            pictures |= dict(zip(paths.values(), made, strict=True))
    return run, pictures
