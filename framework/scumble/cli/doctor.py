"""`scumble doctor`: whether what is installed works, and what does not."""

import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Any

import typer

from scumble.built import BuiltCache, cache_budget, cache_folder
from scumble.cli.commands import GROUP as COMMANDS
from scumble.cli.engines import devices, missing
from scumble.cli.entries import GROUPS, Entry, look_at
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json, print_table
from scumble.cli.reporting import BUG
from scumble.errors import OptionError
from scumble.plugins import list_entries

__all__ = ["doctor"]

DISTRIBUTIONS = (
    "scumble", "numpy", "pillow", "pydantic", "pluggy", "tokenizers", "typer", "rich",
    "torch", "diffusers", "transformers", "safetensors", "onnxruntime", "openvino", "tensorrt",
    "tensorrt-rtx",
)  # fmt: skip
DEMO = "rooms"


@grouped
def doctor(*, ctx: typer.Context, output: Output) -> None:
    """Check what is installed, and exit with code 1 if something is broken."""
    engines = list_entries(GROUPS["engine"])
    lacking = {name: missing(listed[0]) for name, listed in engines.items()}
    skipped = [f"engine {name}" for name, absent in lacking.items() if absent]
    entries = look_at(list(GROUPS), leave_out=skipped, tried=True)
    cache, cache_problems = _cache()
    problems = [
        *(f"{entry.kind} {entry.name}: {entry.problem}" for entry in entries if entry.problem),
        *_taken(ctx),
        *_demo(entries),
        *cache_problems,
    ]
    report: dict[str, Any] = {
        "versions": _versions(),
        "devices": devices(),
        "threads": _threads(),
        "cache": cache,
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


def _cache() -> tuple[dict[str, Any], list[str]]:
    """Return what the cache of built engines holds, and what is wrong with it."""
    found: dict[str, Any] = {}
    try:
        folder = cache_folder()
        found["folder"] = str(folder)
        found["budget_bytes"] = cache_budget()
        found.update(asdict(BuiltCache(folder).usage()))
    except OptionError as error:
        return found, [f"cache: {error}"]
    if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
        return found, [
            f"cache: '{folder}' cannot be written; set SCUMBLE_CACHE_DIR to another folder."
        ]
    return found, []


def _fullness(cache: dict[str, Any]) -> str:
    """Return the folder, and what is in it where that could be seen."""
    folder = cache.get("folder", "none")
    if "entries" not in cache:
        return folder
    return (
        f"{folder}, {cache['entries']} built engines and {cache['quarantined']} quarantined, "
        f"{cache['bytes'] / 1e6:.0f} of {cache['budget_bytes'] / 1e6:.0f} MB"
    )


def _print(report: dict[str, Any], entries: list[Entry]) -> None:
    print_table(("", ""), list(report["versions"].items()))
    threads = report["threads"]
    print(f"\ndevices  {', '.join(report['devices'])}")
    print(f"threads  {threads['usable']}, OMP_NUM_THREADS {threads['OMP_NUM_THREADS'] or 'unset'}")
    print(f"cache    {_fullness(report['cache'])}\n")
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
