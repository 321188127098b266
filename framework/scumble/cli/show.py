"""`scumble show`: how a picture was made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json
from scumble.cli.reporting import shown
from scumble.recipes import read_recipe

__all__ = ["show"]


@grouped
def show(
    *,
    file: Annotated[Path, typer.Argument(help="PNG that Scumble wrote.")],
    output: Output,
) -> None:
    """Show the recipe inside a picture: prompts, settings, seed, model, versions."""
    recipe = read_recipe(file)
    if output.as_json:
        print_json(recipe)
    elif not output.quiet:
        for line in _lines(recipe, ""):
            print(line)


def _lines(table: dict[str, Any], indent: str) -> Iterator[str]:
    """Yield the lines of a recipe, tables after single values; what has no value is left out."""
    table = {k: v for k, v in table.items() if v not in (None, "", [], {})}
    single = {k: v for k, v in table.items() if not isinstance(v, dict)}
    width = max((len(shown(key)) for key in single), default=0)
    for key, value in single.items():
        yield from _entry(f"{indent}{shown(key):<{width}}", value)
    for key, value in table.items():
        if isinstance(value, dict):
            yield f"{indent}{shown(key)}:"
            yield from _lines(cast("dict[str, Any]", value), indent + "  ")


def _entry(head: str, value: Any) -> Iterator[str]:
    values: list[Any] = [value]
    if isinstance(value, list):
        listed = cast("list[Any]", value)
        plain = all(isinstance(one, int | float) for one in listed)
        values = [" x ".join(map(str, listed))] if plain else listed
    for number, one in enumerate(values):
        text = one if isinstance(one, str) else str(one)
        yield f"{head if number == 0 else ' ' * len(head)}  {shown(text)}"
