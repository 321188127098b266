"""The `openvino` package, imported so that it reports nothing to anyone."""

import sys
from types import ModuleType
from typing import Any, cast

__all__ = ["runtime"]

REPORTER = "openvino_telemetry"


def _import_silently() -> ModuleType:
    """Import `openvino` without its reporter.

    Left alone, importing it writes an id into the home folder and sends an event to its makers.
    Without the reporter it uses a stub of its own, which does neither. Where somebody else has
    imported it before, that has happened already, and is theirs to decide.
    """
    modules = cast("dict[str, Any]", sys.modules)
    kept = modules.get(REPORTER)
    modules[REPORTER] = None  # importing it is then an ImportError
    try:
        import openvino
    finally:
        del modules[REPORTER]
        if kept is not None:
            modules[REPORTER] = kept
    return openvino


runtime: Any = _import_silently()
"""The `openvino` module."""
