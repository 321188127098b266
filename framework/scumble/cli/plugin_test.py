"""`scumble plugins test`: holds installed plugins to the contract, each in a process of its own.

A plugin can end the interpreter or never answer; what cannot be stopped from inside is stopped from
outside, and the check that it was at is the one that failed.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from scumble.cli.engines import missing
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table
from scumble.cli.reporting import BUG
from scumble.errors import OptionError
from scumble.plugins import PLUGINS, Listed, list_entries
from scumble.testing.plugin_contract import CHECKS, FAKE, Finding

__all__ = ["checked", "held"]

ENGINES = "scumble.engines"


@grouped
def checked(
    *,
    name: Annotated[
        str, typer.Argument(help="Plugin, or the distribution whose plugins are tested.")
    ],
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engine that it is to work on, beside the one in numpy; `fake` is that alone.",
            show_default="all whose runtime is installed",
        ),
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, help="Seconds for all checks of one plugin.")
    ] = 300,
    output: Output,
) -> None:
    """Hold a plugin to the contract, and exit with code 1 if it breaks it."""
    tested = named(name)
    engines = _engines(engine)
    found = {plugin: held(plugin, engines, patience) for plugin in tested}
    failed = any(one.outcome == "failed" for each in found.values() for one in each)
    if output.as_json:
        plugins = [
            {"name": plugin, "from": _origin(listed), "checks": [asdict(f) for f in found[plugin]]}
            for plugin, listed in tested.items()
        ]
        print_json({"plugins": plugins, "passed": not failed})
    elif not output.quiet:
        for plugin, listed in tested.items():
            print(f"{plugin}, of {_origin(listed)}")
            rows = [(one.check, one.engine, one.outcome, one.said) for one in found[plugin]]
            print_table(("check", "engine", "", ""), rows)
            print()
    if failed:
        raise typer.Exit(BUG)


def named(name: str) -> dict[str, tuple[Listed, ...]]:
    """Return the plugin of a name, or else all that a distribution brings.

    Raises:
        OptionError: neither is installed.
    """
    entries = list_entries(PLUGINS)
    if name in entries:
        return {name: entries[name]}
    brought = {
        plugin: listed
        for plugin, listed in entries.items()
        if any(_plain(one.distribution) == _plain(name) for one in listed)
    }
    if not brought:
        known = ", ".join(entries) or "none"
        raise OptionError(
            f"no plugin {name!r}, and no distribution of that name that brings one; plugins: "
            f"{known}."
        )
    return brought


def held(plugin: str, engines: Sequence[str], patience: float) -> list[Finding]:
    """Return what comes of every check of one plugin, made in another process.

    Args:
        plugin: its name.
        engines: beside the one in numpy.
        patience: seconds for all of it.
    """
    asked = {"path": sys.path, "plugin": plugin, "engines": list(engines)}
    command = [sys.executable, "-P", "-m", "scumble.cli.plugin_trial"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            written, _ = process.communicate(json.dumps(asked), timeout=patience)
            ending = f"it ended the interpreter (exit code {process.returncode})."
        except subprocess.TimeoutExpired:
            process.kill()
            written, _ = process.communicate()
            ending = f"it did not end within {patience:.0f} seconds."
    lines = [json.loads(line) for line in written.splitlines() if line.endswith("}")]
    found = [Finding(**line) for line in lines]
    wanted = [("loads", FAKE), *((check, FAKE) for check in CHECKS)]
    wanted += [("works", engine) for engine in engines]
    if len(found) < len(wanted) and not (found and found[0].outcome == "failed"):
        check, engine = wanted[len(found)]
        found.append(Finding(check, engine, "failed", ending))
    return found


def _engines(asked: Sequence[str] | None) -> list[str]:
    """Return the engines that were asked for, or all whose runtime is installed."""
    installed = list_entries(ENGINES)
    if asked is None:
        return [name for name, listed in installed.items() if not missing(listed[0])]
    odd = next((name for name in asked if name not in (FAKE, *installed)), None)
    if odd is not None:
        known = ", ".join((FAKE, *installed))
        raise OptionError(f"no engine {odd!r}; engines: {known}.")
    return [name for name in asked if name != FAKE]


def _origin(listed: Sequence[Listed]) -> str:
    return " and ".join(one.origin for one in listed)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
