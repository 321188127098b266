"""Commands that other distributions bring: listed unseen, imported only when they are asked for."""

import ast
import inspect
import os
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from scumble.cli.reporting import INTERRUPTED, hushed, one_line, report
from scumble.errors import PluginError
from scumble.plugins import Listed, list_entries, load_entry

__all__ = ["CommandGroup", "command_from", "summary_of"]

GROUP = "scumble.commands"


class Unloaded(TyperCommand):
    """Stands for a command that has not been imported."""


class CommandGroup(TyperGroup):
    """The built-in commands, and those of the entry-point group `scumble.commands`.

    A built-in name cannot be taken: a distribution that offers it is passed over, and
    `scumble doctor` says so.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all names, the built-in ones first."""
        brought = (name for name in list_entries(GROUP) if name not in self.commands)
        return [*self.commands, *brought]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or something that stands for it and knows its one-line help."""
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        listed = list_entries(GROUP).get(cmd_name)
        if listed is None:
            return None
        origins = " and ".join(one.origin for one in listed)
        summary = summary_of(listed[0].entry) or f"Brought by {origins}."
        return Unloaded(cmd_name, help=escape(one_line(summary)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that is to run, imported now if it is another distribution's."""
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, Unloaded):
            with hushed():
                listed, value = load_entry(GROUP, str(name), "command")
            command = command_from(listed, value)
        return name, command, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command; an interrupt ends it with one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            report("interrupted.")
            raise typer.Exit(INTERRUPTED) from None


def command_from(listed: Listed, value: object) -> Any:
    """Return a command made from what an entry point holds.

    Args:
        listed: the entry point.
        value: a function that typer can wrap, or a `typer.Typer`.

    Raises:
        PluginError: something else.
    """
    app = value
    if not isinstance(app, typer.Typer):
        if not callable(value):
            raise PluginError(
                f"command {listed.name!r} of {listed.origin} is neither a function nor a "
                "typer.Typer."
            )
        app = typer.Typer(add_completion=False)
        # Prose, not markup: a bracket in it must not break its help.
        described = inspect.getdoc(value)
        app.command(listed.name, help=escape(described) if described else None)(
            cast("Callable[..., Any]", value)
        )
    try:
        command = get_command(app)
    # typer raises whatever comes to its mind about a signature that it cannot read.
    except Exception as error:
        raise PluginError(
            f"command {listed.name!r} of {listed.origin} cannot be read by typer: {error}."
        ) from error
    command.name = listed.name
    return command


def summary_of(entry: EntryPoint) -> str | None:
    """Return the first line of a function's docstring, read from the source without importing."""
    try:
        source = _source(entry.module)
        tree = ast.parse(source.read_bytes()) if source is not None else ast.Module([], [])
    except (OSError, ValueError, SyntaxError, RecursionError):
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == entry.attr:
            documented = ast.get_docstring(node)
            return documented.splitlines()[0] if documented else None
    return None


def _source(module: str) -> Path | None:
    """Return a module's file, found as import finds it, with no parent package executed."""
    path: list[str] | None = None
    spec = None
    for depth in range(module.count(".") + 1):
        name = ".".join(module.split(".")[: depth + 1])
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin and os.fspath(origin).endswith(".py") else None
