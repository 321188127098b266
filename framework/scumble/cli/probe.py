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
from scumble.errors import EngineError, InputError, ScumbleError, UnsupportedError
from scumble.models import find_checkpoint
from scumble.plugins import Listed, check_class, load_entry
from scumble.testing.subject import Subject

__all__ = ["main", "probe"]

OWN = "scumble"


def probe(kind: str, name: str, tried: bool = False) -> dict[str, Any]:
    """Load one entry point and return facts about it, or its `problem` in one sentence.

    Args:
        kind: of the entry point.
        name: likewise.
        tried: whether a stranger's plugin is run, too.
    """
    try:
        with hushed():
            listed, value = load_entry(GROUPS[kind], name, kind)
            facts = {**_summary(value), **FACTS[kind](listed, value)}
            if tried and kind == "plugin" and listed.distribution != OWN:
                facts |= _tried(name)
            return facts
    except ScumbleError as error:
        return {"problem": one_line(str(error))}
    # A stranger's class can raise anything when it is looked at.
    except (Exception, SystemExit) as error:
        return {"problem": one_line(f"{kind} {name!r} raised {type(error).__name__}: {error}.")}


def _summary(value: object) -> dict[str, Any]:
    # Its own, not that of the base.
    described = inspect.cleandoc(value.__doc__ or "") if callable(value) else ""
    return {"summary": described.splitlines()[0]} if described else {}


def _plugin(listed: Listed, value: Any) -> dict[str, Any]:
    check_class(listed.name, listed.origin, value)
    value.options_type.model_json_schema()
    names = sorted(n.removeprefix("scumble_") for n in dir(value) if n.startswith("scumble_"))
    return {"hooks": names}


def _tried(name: str) -> dict[str, Any]:
    """Return what a run of a plugin comes to, in milliseconds, on the engine in numpy."""
    subject = Subject.of(name)
    try:
        done = subject.run(subject.trial.options)
    except (InputError, UnsupportedError) as error:
        return {"tried": f"no: {one_line(str(error))}"}
    disturbed = [note for note in done.notes if note.startswith("plugin ")]
    return {"tried": "yes"} | ({"problem": one_line(" ".join(disturbed))} if disturbed else {})


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
            print(json.dumps(probe(kind, name, asked["tried"])), file=reports, flush=True)


if __name__ == "__main__":
    main()
