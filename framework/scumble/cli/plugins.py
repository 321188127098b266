"""`scumble plugins`: the installed methods; `new` writes one, `test` holds one to the contract."""

from typing import Any

import typer

from scumble.cli.entries import Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table
from scumble.cli.plugin_new import new
from scumble.cli.plugin_test import checked

__all__ = ["plugins"]

plugins = typer.Typer(invoke_without_command=True)
plugins.command()(new)
plugins.command("test")(checked)


@plugins.callback()
@grouped
def listed(*, ctx: typer.Context, output: Output) -> None:
    """List the installed plugins, broken ones with their cause; write one, or test one."""
    if ctx.invoked_subcommand is not None:
        return
    found = look_at(["plugin"])
    if output.as_json:
        print_json({"plugins": [entry.as_dict() for entry in found]})
    elif not output.quiet:
        print_table(("name", "hooks", "from", ""), [_row(entry) for entry in found])


def _row(entry: Entry) -> tuple[str, ...]:
    hooks: list[Any] = entry.facts.get("hooks", [])
    said = f"broken: {entry.problem}" if entry.problem else str(entry.facts.get("summary", ""))
    return entry.name, ", ".join(hooks), entry.origin, said
