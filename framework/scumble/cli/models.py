"""`scumble models`: the models that have a name."""

from scumble.cli.entries import Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table

__all__ = ["models"]


@grouped
def models(*, output: Output) -> None:
    """List the models that installed packages bring; folders and hub ids need no name."""
    found = look_at(["model"])
    if output.as_json:
        print_json({"models": [entry.as_dict() for entry in found]})
    elif not output.quiet:
        print_table(("name", "size", "from", "folder"), [_row(entry) for entry in found])


def _row(entry: Entry) -> tuple[str, ...]:
    size = entry.facts.get("megabytes")
    where = f"broken: {entry.problem}" if entry.problem else str(entry.facts.get("folder", ""))
    return entry.name, f"{size} MB" if size is not None else "", entry.origin, where
