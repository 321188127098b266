"""The child of `scumble.cli.entries`: loads entry points and reports each as one line of JSON."""

import inspect
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

from scumble.cli.commands import command_from
from scumble.cli.entries import GROUPS
from scumble.cli.reporting import hushed, one_line
from scumble.engine import Engine, EngineSettings
from scumble.errors import EngineError, ScumbleError
from scumble.models import find_checkpoint
from scumble.plugins import Listed, Plugin, check_hooks, load_entry

__all__ = ["main", "probe"]


def probe(kind: str, name: str) -> dict[str, Any]:
    """Load one entry point and return facts about it, or its `problem` in one sentence."""
    try:
        with hushed():
            listed, value = load_entry(GROUPS[kind], name, kind)
            return {**_summary(value), **FACTS[kind](listed, value)}
    except ScumbleError as error:
        return {"problem": one_line(str(error))}
    # A stranger's class can raise anything when it is looked at.
    except (Exception, SystemExit) as error:
        return {"problem": one_line(f"{kind} {name!r} raised {type(error).__name__}: {error}.")}


def _summary(value: object) -> dict[str, Any]:
    described = inspect.getdoc(value) if callable(value) else None
    return {"summary": described.splitlines()[0]} if described else {}


def _plugin(listed: Listed, value: Any) -> dict[str, Any]:
    if not (isinstance(value, type) and issubclass(value, Plugin)):
        return {"problem": f"plugin {listed.name!r} is no subclass of scumble.Plugin."}
    check_hooks(listed.name, listed.origin, value)
    value.options_type.model_json_schema()
    names = sorted(n.removeprefix("scumble_") for n in dir(value) if n.startswith("scumble_"))
    return {"hooks": names}


def _engine(listed: Listed, value: Any) -> dict[str, Any]:
    if not (isinstance(value, type) and issubclass(value, Engine)):
        return {"problem": f"engine {listed.name!r} is no subclass of scumble.Engine."}
    facts: dict[str, Any] = {"ports": sorted(value.groups), "gradients": "loss" in value.groups}
    try:
        facts["runs_on"] = value(EngineSettings()).provenance
    except EngineError:
        # Some engines cannot say before a model is loaded; that is no fault.
        facts["runs_on"] = {}
    return facts


def _model(listed: Listed, value: Any) -> dict[str, Any]:
    folder = Path(cast("str | Path", value))
    if not folder.is_dir():
        return {"folder": str(folder), "problem": f"{folder} does not exist."}
    checkpoint = find_checkpoint(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    bundled = {"folder": str(folder), "megabytes": round(size / 1e6, 1)}
    for wanted in ("tokenizer/tokenizer_config.json", "vae/config.json"):
        if not (checkpoint.folder / wanted).is_file():
            return {**bundled, "problem": f"{folder} is not complete: it has no {wanted}."}
    return bundled


def _command(listed: Listed, value: Any) -> dict[str, Any]:
    command_from(listed, value)
    return {}


FACTS = {"plugin": _plugin, "engine": _engine, "model": _model, "command": _command}


def main() -> None:
    """Read the search path and the entries from stdin, and report on each."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    # What a module writes, even from C, goes nowhere: only reports reach the parent.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)
        for kind, name in asked["entries"]:
            print(json.dumps(probe(kind, name)), file=reports, flush=True)


if __name__ == "__main__":
    main()
