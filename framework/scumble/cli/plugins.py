"""`scumble plugins`: the installed methods, and what each of them does."""

from typing import Any

from scumble.cli.entries import Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table

__all__ = ["plugins"]


@grouped
def plugins(*, output: Output) -> None:
    """List the installed plugins, broken ones with their cause."""
    found = look_at(["plugin"])
    if output.as_json:
        print_json({"plugins": [entry.as_dict() for entry in found]})
    elif not output.quiet:
        print_table(("name", "hooks", "from", ""), [_row(entry) for entry in found])


def _row(entry: Entry) -> tuple[str, ...]:
    hooks: list[Any] = entry.facts.get("hooks", [])
    said = f"broken: {entry.problem}" if entry.problem else str(entry.facts.get("summary", ""))
    return entry.name, ", ".join(hooks), entry.origin, said
