"""Installed entry points, each loaded in another process: what breaks there breaks nothing here.

A stranger's module can raise, print, hang, or end the interpreter. `look_at` sends a list of them
to a child that reports on one after the other; where it falls silent, a new child takes the rest.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from scumble.plugins import Listed, list_entries

__all__ = ["GROUPS", "Entry", "look_at"]

GROUPS = {
    "plugin": "scumble.plugins",
    "engine": "scumble.engines",
    "model": "scumble.models",
    "command": "scumble.commands",
}
PATIENCE = 120.0  # seconds for one child; torch from a cold disk takes 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry point and what came of loading it.

    Attributes:
        kind: plugin, engine, model or command.
        name: under which the user asks for it.
        origin: distribution and version; several where they conflict.
        problem: one sentence, or None where all is well.
        facts: what the child found; see `scumble.cli.probe`.
    """

    kind: str
    name: str
    origin: str
    problem: str | None = None
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON output shows."""
        named = {"kind": self.kind, "name": self.name, "from": self.origin}
        return {**named, "problem": self.problem, **self.facts}


def look_at(
    kinds: Sequence[str],
    *,
    leave_out: Sequence[str] = (),
    patience: float = PATIENCE,
    tried: bool = False,
) -> list[Entry]:
    """Return every installed entry point of some kinds, loaded elsewhere.

    Args:
        kinds: of `GROUPS`.
        leave_out: `kind name` of those that are listed and not loaded.
        patience: seconds for one child.
        tried: whether strangers' plugins are run, too: once, on the engine in numpy.
    """
    found = [
        (kind, name, listed)
        for kind in kinds
        for name, listed in list_entries(GROUPS[kind]).items()
    ]
    wanted = [(kind, name) for kind, name, _ in found if f"{kind} {name}" not in leave_out]
    told = _ask(wanted, patience, tried)
    entries: list[Entry] = []
    for kind, name, listed in found:
        facts = dict(told.get((kind, name), {}))
        problem = facts.pop("problem", None)
        entries.append(Entry(kind, name, _origin(listed), problem, facts))
    return entries


def _origin(listed: Sequence[Listed]) -> str:
    return " and ".join(one.origin for one in listed)


def _ask(
    wanted: Sequence[tuple[str, str]], patience: float, tried: bool
) -> dict[tuple[str, str], dict[str, Any]]:
    told: dict[tuple[str, str], dict[str, Any]] = {}
    left = list(wanted)
    while left:
        lines, ending = _child(left, patience, tried)
        told |= zip(left, lines, strict=False)
        left = left[len(lines) :]
        if left:
            told[left.pop(0)] = {"problem": ending}
    return told


def _child(
    wanted: Sequence[tuple[str, str]], patience: float, tried: bool
) -> tuple[list[dict[str, Any]], str]:
    """Return one report an entry, as far as the child came, and why it stopped there."""
    command = [sys.executable, "-P", "-m", "scumble.cli.probe"]
    done = "loaded and tried" if tried else "loaded"
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    ) as process:
        try:
            given = json.dumps({"path": sys.path, "entries": wanted, "tried": tried})
            written, _ = process.communicate(given, timeout=patience)
            ending = f"ended the interpreter when it was {done} (exit code {process.returncode})."
        except subprocess.TimeoutExpired:
            process.kill()
            written, _ = process.communicate()
            ending = f"was not {done} within {patience:.0f} seconds."
    return [json.loads(line) for line in written.splitlines() if line.endswith("}")], ending
