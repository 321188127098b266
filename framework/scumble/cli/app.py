"""The program `scumble`: its commands, put together, and its exit codes.

0 done, 2 something given cannot be used (one sentence says what), 1 a bug or a doctor's finding,
130 interrupted.
"""

import io
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from scumble.cli.cache import cache
from scumble.cli.commands import CommandGroup
from scumble.cli.doctor import doctor
from scumble.cli.edit import edit
from scumble.cli.engines import engines
from scumble.cli.generate import generate
from scumble.cli.invert import invert
from scumble.cli.maps import maps
from scumble.cli.models import models
from scumble.cli.plugins import plugins
from scumble.cli.reporting import BUG, INTERRUPTED, MISUSED, debugging, report
from scumble.cli.rerun import rerun
from scumble.cli.schema import schema
from scumble.cli.show import show
from scumble.cli.tendency import tendency
from scumble.errors import ScumbleError

__all__ = ["app", "main"]

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS = (
    edit, generate, maps, tendency, invert, show, rerun, schema, engines, models, cache, doctor,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)
app.add_typer(plugins, name="plugins")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"scumble {version('scumble')}")
        raise typer.Exit()


@app.callback()
def scumble(
    shown: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Edit pictures by controlling the attention of a diffusion model."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        # A path or a prompt may hold what the terminal's encoding lacks.
        stdout.reconfigure(errors="backslashreplace")
    try:
        typer.main.get_command(app).main(arguments, prog_name="scumble")
    except ScumbleError as error:
        report(str(error), error)
        sys.exit(MISUSED)
    except KeyboardInterrupt:
        report("interrupted.")
        sys.exit(INTERRUPTED)
    # The last resort: a user gets a sentence, not a traceback, unless they ask for it.
    except Exception as error:
        hint = "" if debugging() else "; SCUMBLE_DEBUG=1 shows where"
        report(
            f"this is a bug in Scumble or in a plugin{hint}: {type(error).__name__}: {error}.",
            error,
        )
        sys.exit(BUG)
    sys.exit(0)
