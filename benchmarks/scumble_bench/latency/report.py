"""The file of figures: what each part measured, where and when, and the verdicts on its targets."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from scumble_bench.latency.targets import verdicts

__all__ = ["read_report", "write_report"]


def read_report(path: Path, parts: Iterable[str]) -> dict[str, Any]:
    """Return the report at a path: part -> what was measured; a part never run says so."""
    known: dict[str, Any] = {}
    if path.is_file():
        known = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    fresh = {name: {"targets": verdicts(name, (), "this part was never run")} for name in parts}
    return {**fresh, **known}


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)
