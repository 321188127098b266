"""`scumble generate`: a picture from a prompt."""

from typing import Annotated

import typer

from scumble.cli.checks import check_prompts, check_request
from scumble.cli.files import check_outputs
from scumble.cli.flags import Loading, Out, Output, Sampling, grouped
from scumble.cli.output import working
from scumble.cli.results import tell
from scumble.editor import Editor

__all__ = ["generate"]


@grouped
def generate(
    *,
    prompt: Annotated[str, typer.Argument(help="What is to be seen.")],
    out: Out,
    sampling: Sampling,
    loading: Loading,
    output: Output,
) -> None:
    """Make a picture from a prompt."""
    check_outputs([("--out", out)])
    check_request("generate", {"prompt": prompt, **sampling.fields()})
    check_prompts(loading, [prompt], sampling.negative)
    with working(output) as work:
        work.stage("loading the model")
        with Editor.load(**loading.fields()) as editor:
            run = editor.generate(prompt, callback_on_step_end=work.step, **sampling.fields())
        paths = run.save(out)
    tell(output, run, work.seconds, paths)
