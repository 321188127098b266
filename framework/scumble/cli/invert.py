"""`scumble invert`: the noise that leads to a picture, and what comes back from it."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from scumble.cli.checks import check_pictures, check_plugin, check_prompts, check_request
from scumble.cli.files import check_outputs
from scumble.cli.flags import Inverting, Loading, Out, Output, Sampling, grouped
from scumble.cli.output import working
from scumble.cli.results import tell
from scumble.editor import Editor
from scumble.requests import InvertRequest
from scumble.runs import Run

__all__ = ["invert", "psnr"]

DDIM = str(InvertRequest.model_fields["inversion"].default)


@grouped
def invert(
    *,
    image: Annotated[Path, typer.Argument(help="Picture to invert.")],
    source: Annotated[str, typer.Option(help="Describes the picture.")],
    out: Out,
    sampling: Sampling,
    inverting: Inverting,
    loading: Loading,
    output: Output,
) -> None:
    """Invert a picture, sample back from the noise, and say how much came back."""
    check_outputs([("--out", out)], [image])
    request = {**sampling.fields(), **inverting.fields(DDIM)}
    check_request("invert", {"source": source, **request})
    check_pictures(image)
    check_plugin(request["inversion"], request.get("inversion_options", {}))
    check_prompts(loading, [source], sampling.negative)
    with working(output) as work:
        work.stage("loading the model")
        with Editor.load(**loading.fields()) as editor:
            work.stage("inverting")
            run = editor.invert(image, source, callback_on_step_end=work.step, **request)
        paths = run.save(out)
    decibels = psnr(run)
    same = "the same" if decibels is None else f"{decibels:.2f}"
    shown = decibels if output.as_json else f"{same} dB to the picture given"
    tell(output, run, work.seconds, paths, psnr=shown)


def psnr(run: Run) -> float | None:
    """Return the PSNR of what came back to what was given in dB; None where they are equal."""
    given, back = (np.asarray(image, dtype=np.float64) for image in (run.source, run.image))
    error = float(np.mean((given - back) ** 2))
    return round(float(10 * np.log10(255**2 / error)), 2) if error else None
