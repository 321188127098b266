"""`scumble engines`: what can run a model here, and how to install what cannot yet."""

import importlib.metadata
import os
import re
import shutil
import subprocess
from typing import Annotated, Any

import typer

from scumble.cli.entries import Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table
from scumble.plugins import Listed, list_entries

__all__ = ["devices", "engines", "missing"]

GROUP = "scumble.engines"
EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@grouped
def engines(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Load each engine: its ports, and where it would run."),
    ] = False,
    output: Output,
) -> None:
    """List the engines, whether each is installed, and the devices seen."""
    lacking = {name: missing(listed[0]) for name, listed in list_entries(GROUP).items()}
    # Without --check nothing is imported: a runtime takes seconds to load.
    skipped = [f"engine {name}" for name in lacking if lacking[name] or not check]
    found = look_at(["engine"], leave_out=skipped)
    if output.as_json:
        print_json(
            {
                "engines": [_facts(entry, lacking[entry.name]) for entry in found],
                "devices": devices(),
            }
        )
    elif not output.quiet:
        print_table(
            ("name", "installed", "ports", "from"),
            [_row(entry, lacking[entry.name], check) for entry in found],
        )
        print(f"\ndevices: {', '.join(devices())}")


def missing(listed: Listed) -> list[str]:
    """Return the distributions that an engine needs and that are not installed.

    They are those of the extra that has the engine's name; without one, none are known.
    """
    try:
        required = importlib.metadata.requires(listed.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    absent: list[str] = []
    for line in required:
        extra, name = EXTRA.search(line), NAME.match(line)
        if extra is None or name is None or _plain(extra[1]) != _plain(listed.name):
            continue
        try:
            importlib.metadata.version(name[0])
        except importlib.metadata.PackageNotFoundError:
            absent.append(name[0])
    return absent


def devices() -> list[str]:
    """Return the processor and the NVIDIA GPUs, asking their driver and no library."""
    found = [f"cpu ({os.cpu_count() or 1} threads)"]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return found
    query = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return found
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    return [*found, *(f"cuda:{index} ({line})" for index, line in enumerate(lines))]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _command(entry: Entry) -> str:
    return f"pip install '{entry.origin.split(' ')[0]}[{entry.name}]'"


def _facts(entry: Entry, lacking: list[str]) -> dict[str, Any]:
    install = {"missing": lacking, "install": _command(entry)} if lacking else {}
    return {**entry.as_dict(), "installed": not lacking, **install}


def _row(entry: Entry, lacking: list[str], check: bool) -> tuple[str, ...]:
    installed = f"no: {_command(entry)}" if lacking else "yes"
    if entry.problem:
        installed = f"broken: {entry.problem}"
    names: list[str] = entry.facts.get("ports", [])
    ports = ", ".join(names) if check else "(--check shows them)"
    where = entry.facts.get("runs_on", {}).get("device")
    return entry.name, installed if where is None else f"yes, on {where}", ports, entry.origin
