"""`scumble doctor`: whether what is installed works, and what does not."""

import importlib.metadata
import os
import platform
import stat
import sys
from pathlib import Path
from typing import Any

import typer

from scumble.cli.commands import GROUP as COMMANDS
from scumble.cli.engines import devices, missing
from scumble.cli.entries import GROUPS, Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table
from scumble.cli.reporting import BUG
from scumble.plugins import list_entries

__all__ = ["cache_folder", "doctor"]

DISTRIBUTIONS = (
    "scumble", "numpy", "pillow", "pydantic", "pluggy", "tokenizers", "typer", "rich",
    "torch", "diffusers", "transformers", "safetensors", "onnxruntime", "openvino", "tensorrt",
)  # fmt: skip
DEMO = "rooms"


@grouped
def doctor(*, ctx: typer.Context, output: Output) -> None:
    """Check what is installed, and exit with code 1 if something is broken."""
    engines = list_entries(GROUPS["engine"])
    lacking = {name: missing(listed[0]) for name, listed in engines.items()}
    skipped = [f"engine {name}" for name, absent in lacking.items() if absent]
    entries = look_at(list(GROUPS), leave_out=skipped)
    folder = cache_folder()
    problems = [
        *(f"{entry.kind} {entry.name}: {entry.problem}" for entry in entries if entry.problem),
        *_taken(ctx),
        *_demo(entries),
        *_cache(folder),
    ]
    report: dict[str, Any] = {
        "versions": _versions(),
        "devices": devices(),
        "threads": _threads(),
        "cache": str(folder),
        "entries": [entry.as_dict() for entry in entries],
        "not_installed": {name: absent for name, absent in lacking.items() if absent},
        "problems": problems,
    }
    if output.as_json:
        print_json(report)
    elif not output.quiet:
        _print(report, entries)
    if problems:
        raise typer.Exit(BUG)


def cache_folder() -> Path:
    """Return where built engines are kept."""
    given = os.environ.get("SCUMBLE_CACHE_DIR")
    if given:
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "scumble"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/scumble"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scumble"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _threads() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"usable": usable, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")}


def _taken(ctx: typer.Context) -> list[str]:
    """Return commands that have the name of a built-in one, and are passed over for it."""
    group: Any = ctx.parent.command if ctx.parent is not None else None
    built_in: set[str] = set(group.commands) if group is not None else set()
    return [
        f"command {name}: offered by {listed[0].origin} and built in; the built-in one runs."
        for name, listed in list_entries(COMMANDS).items()
        if name in built_in
    ]


def _demo(entries: list[Entry]) -> list[str]:
    known = any(entry.kind == "model" and entry.name == DEMO for entry in entries)
    return [] if known else [f"model {DEMO}: no installed package brings the demo checkpoint."]


def _cache(folder: Path) -> list[str]:
    if not folder.exists():
        return []
    if not folder.is_dir():
        return [f"cache: {folder} is no folder; set SCUMBLE_CACHE_DIR to one."]
    if os.name == "posix" and folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return [f"cache: others may write to {folder}; run: chmod 700 {folder}"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [f"cache: {folder} cannot be written; set SCUMBLE_CACHE_DIR to another folder."]
    return []


def _print(report: dict[str, Any], entries: list[Entry]) -> None:
    print_table(("", ""), list(report["versions"].items()))
    threads = report["threads"]
    print(f"\ndevices  {', '.join(report['devices'])}")
    print(f"threads  {threads['usable']}, OMP_NUM_THREADS {threads['OMP_NUM_THREADS'] or 'unset'}")
    print(f"cache    {report['cache']}\n")
    absent = report["not_installed"]
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        state = "broken" if entry.problem else "ok"
        if entry.kind == "engine" and entry.name in absent:
            state = f"not installed, needs {', '.join(absent[entry.name])}"
        rows.append((entry.kind, entry.name, entry.origin, state))
    print_table(("kind", "name", "from", ""), rows)
    print()
    for problem in report["problems"]:
        print(f"broken: {problem}")
    print("all is well." if not report["problems"] else f"{len(report['problems'])} problems.")
