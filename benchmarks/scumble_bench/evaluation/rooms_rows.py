"""Which rows the rooms benchmark has: those of the committed tables, and one for every plugin more.

A plugin that is installed and stands in no table gets a row by its trial: the edits of `colour`, or
of `layout` where its trial edits no picture; the trial's options, with the words of the trial's
prompts in place of which a case has its own; the true mask, where the trial has one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from scumble.errors import OptionError, PluginError
from scumble.plugins import Plugin, Trial, list_entries, load_class
from scumble_bench.evaluation.methods import Named, brings_inversion, edits
from scumble_bench.rooms.baselines import BASELINES
from scumble_bench.rooms.inversions import ROWS as INVERTED
from scumble_bench.rooms.methods.rows import GENERATED, ROWS, Row, Task
from scumble_bench.rooms.world import NOUNS

__all__ = ["TABLED", "read_tasks", "rows_for", "template_of"]

DIRECT = "direct"

TABLED: tuple[Row, ...] = (
    *ROWS,
    *(
        Row(one.name, "colour", one.method, one.options, masked=one.masked, asked=one.asked)
        for one in BASELINES
        # The table of methods has it already.
        if one.name != "Prompt-to-Prompt"
    ),
)
"""The rows of the committed tables."""


def rows_for(
    methods: Sequence[Named], inversions: Sequence[Named], tasks: Sequence[Task]
) -> list[Row]:
    """Return the rows that are asked for.

    A row that edits a picture is there once for every inversion, unless its method brings its own;
    the one with direct inversion has the name that it has in the committed tables.

    Args:
        methods: with their options; none are the committed rows, and one for every further plugin
            that is installed.
        inversions: that are asked for.
        tasks: that are asked for; none are all.

    Raises:
        OptionError: a plugin that edits nothing, or nothing is left to be measured.
        PluginError: one that cannot be loaded.
    """
    for inversion in inversions:
        if not hasattr(load_class(inversion.plugin)[1], "scumble_invert"):
            raise OptionError(f"plugin {inversion.plugin!r} does not invert; name an inversion.")
    chosen = [*TABLED, *_further()] if not methods else []
    for method in methods:
        tabled = [
            row for row in TABLED if row.method == method.plugin and method.name == row.method
        ]
        chosen += tabled or [_row(method.name, method.plugin, method.options)]
    wanted = [row for row in chosen if not tasks or row.task in tasks]
    found = [one for row in wanted for one in _inverted(row, inversions)]
    if not found:
        raise OptionError("no row of these methods has one of these tasks; name other ones.")
    return found


def read_tasks(given: Sequence[str]) -> list[Task]:
    """Return the tasks of some names.

    Raises:
        OptionError: an unknown one.
    """
    known: dict[str, Task] = {row.task: row.task for row in TABLED}
    for text in given:
        if text not in known:
            raise OptionError(f"--task is {text!r}; there are: {', '.join(known)}.")
    return [known[text] for text in given]


def template_of(trial: Trial) -> dict[str, Any]:
    """Return a trial's options with `{word}` and `{noun}` where they name its prompts' words."""
    source, target = (re.findall(r"\w+", text) for text in (trial.source, trial.target))
    new = [word for word in target if word not in source]
    known = {noun: "{noun}" for noun in NOUNS if noun in source and noun in target}
    known |= dict.fromkeys(new, "{word}")
    return {name: _put(value, known) for name, value in trial.options.items()}


def _put(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return known.get(value, value)
    if isinstance(value, Mapping):
        given = cast("Mapping[str, Any]", value)
        return {known.get(key, key): _put(one, known) for key, one in given.items()}
    if isinstance(value, list | tuple):
        return [_put(one, known) for one in cast("Sequence[Any]", value)]
    return value


def _further() -> list[Row]:
    """Return a row for every installed plugin that edits and stands in no table."""
    known = {row.method for row in TABLED} | {row.inversion for row in INVERTED}
    found: list[Row] = []
    for name in list_entries():
        kind = None if name in known else _kind(name)
        if kind is not None and edits(kind):
            found.append(_row(name, name, {}))
        elif name not in known and kind is None:
            # Its edits fail, each with the cause; the others' do not.
            found.append(Row(name, "colour", name))
    return found


def _kind(name: str) -> type[Plugin] | None:
    """Return a plugin's class; None where it cannot be loaded."""
    try:
        return load_class(name)[1]
    except PluginError:
        return None


def _row(label: str, plugin: str, options: Mapping[str, Any]) -> Row:
    kind = load_class(plugin)[1]
    if not edits(kind):
        raise OptionError(f"plugin {plugin!r} edits nothing; name a method.")
    return Row(
        label,
        "colour" if kind.trial.picture else "layout",
        plugin,
        dict(options) or template_of(kind.trial),
        masked="" in kind.trial.masks,
    )


def _inverted(row: Row, inversions: Sequence[Named]) -> list[Row]:
    kind = None if row.method is None or row.task in GENERATED else _kind(row.method)
    if kind is None or brings_inversion(kind) or row.inversion != DIRECT:
        return [row]
    return [
        row
        if one.name == DIRECT
        else replace(
            row,
            name=f"{row.name}, {one.name}",
            inversion=one.plugin,
            asked={**row.asked, "inversion_options": dict(one.options)},
        )
        for one in inversions
    ]
