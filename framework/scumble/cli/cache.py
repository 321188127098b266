"""`scumble cache`: the engines that were built here, and how to be rid of them."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer

from scumble.built import BuiltCache, Entry
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table

__all__ = ["Action", "cache"]

SHOWN = ("engine", "variant", "target", "precision")


class Action(StrEnum):
    """What to do with the cache."""

    LIST = "list"
    CLEAR = "clear"


@grouped
def cache(
    *,
    action: Annotated[
        Action, typer.Argument(help="list shows what is there, clear removes it.")
    ] = Action.LIST,
    output: Output,
) -> None:
    """List the built engines that are kept, or remove them all."""
    kept = BuiltCache()
    if action is Action.CLEAR:
        gone = kept.clear()
        if output.as_json:
            print_json({"folder": str(kept.folder), "removed": asdict(gone)})
        elif not output.quiet:
            print(
                f"removed {gone.entries} built engines and {gone.quarantined} quarantined files, "
                f"{_megabytes(gone.bytes)}, from {kept.folder}"
            )
        return
    entries, usage = kept.entries(), kept.usage()
    if output.as_json:
        print_json(
            {
                "folder": str(kept.folder),
                "budget_bytes": kept.budget_bytes,
                "usage": asdict(usage),
                "entries": [asdict(entry) for entry in entries],
            }
        )
    elif not output.quiet:
        print_table((*SHOWN, "picture", "size", "last used", ""), [_row(one) for one in entries])
        print(
            f"\n{usage.entries} built engines and {usage.quarantined} quarantined files, "
            f"{_megabytes(usage.bytes)} of {_megabytes(kept.budget_bytes)}, in {kept.folder}"
        )


def _row(entry: Entry) -> tuple[str, ...]:
    known = entry.key or {}
    picture = "x".join(str(side) for side in known.get("picture", ()))
    facts = [str(known.get(name, "")) for name in SHOWN]
    state = "" if entry.key is not None else "damaged"
    return *facts, picture, _megabytes(entry.size), entry.used, state


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
