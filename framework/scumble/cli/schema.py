"""`scumble schema`: what a request or a plugin's options may hold, as JSON schema."""

from typing import Annotated

import typer

from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json
from scumble.cli.reporting import hushed
from scumble.errors import OptionError
from scumble.plugins import list_entries, options_of
from scumble.requests import REQUESTS

__all__ = ["schema"]

PLUGIN = "plugin:"


@grouped
def schema(
    *,
    name: Annotated[
        str | None,
        typer.Argument(help="A request, or plugin:NAME.", show_default="list the names"),
    ] = None,
    output: Output,
) -> None:
    """Print the JSON schema of a request or of a plugin's options."""
    known = [*REQUESTS, *(f"{PLUGIN}{plugin}" for plugin in list_entries())]
    if name is None:
        if output.as_json:
            print_json({"names": known})
        elif not output.quiet:
            print("\n".join(known))
        return
    if name in REQUESTS:
        found = REQUESTS[name]
    elif name.startswith(PLUGIN):
        with hushed():
            found = options_of(name.removeprefix(PLUGIN))
    else:
        raise OptionError(f"no schema {name!r}; there are: {', '.join(known)}.")
    print_json(found.model_json_schema())
