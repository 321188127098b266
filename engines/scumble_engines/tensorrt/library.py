"""Which TensorRT there is: `tensorrt` or `tensorrt_rtx`, whose Python interfaces agree.

One code path serves both: 10.12 to 11 of `tensorrt`, and `tensorrt_rtx` from 1.4. What only one of
them has is looked up here or where it is used, by name.
"""

import importlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from scumble.errors import EngineError, OutOfMemoryError

__all__ = ["Library", "Log", "find_library", "is_installed", "make_log"]

MODULES = {"tensorrt": (10, 12), "tensorrt_rtx": (1, 4)}
"""Module -> the oldest release that is known to do. The first that is installed is taken."""
INSTALL = "pip install 'scumble[tensorrt]'"


@dataclass(frozen=True, slots=True)
class Library:
    """An imported TensorRT.

    Attributes:
        name: of its module.
        version: as it says itself.
        api: the module, which has no types.
    """

    name: str
    version: str
    api: Any

    @property
    def capabilities(self) -> dict[str, Any]:
        """What it builds for without having it: `sm89` -> member of `ComputeCapability`."""
        known: dict[str, Any] = dict(getattr(self._kinds, "__members__", {}))
        return {name.lower(): kind for name, kind in known.items() if name.startswith("SM")}

    @property
    def at_hand(self) -> Any:
        """The member of `ComputeCapability` for the GPU at hand; None where there is no choice."""
        return getattr(self._kinds, "CURRENT", None)

    @property
    def _kinds(self) -> Any:
        return getattr(self.api, "ComputeCapability", None)


class Log:
    """What TensorRT said was wrong, the first mistake first. It logs from its own threads."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    @property
    def first(self) -> str:
        """The first mistake, on one line."""
        return " ".join(self.errors[0].split()) if self.errors else "it does not say why"

    def error(self, what: str) -> EngineError:
        """Return an error about what TensorRT could not do, and clear the log."""
        short = any(re.search(r"out\s*of\s*memory", text, re.IGNORECASE) for text in self.errors)
        kind = OutOfMemoryError if short else EngineError
        reason = self.first.rstrip(".")
        self.errors.clear()
        return kind(f"{what}: {reason}.")


def is_installed() -> bool:
    """Return whether there is one to try, without importing it."""
    return any(find_spec(name) is not None for name in MODULES)


def find_library() -> Library:
    """Import the TensorRT that is installed.

    Raises:
        EngineError: there is none, it does not load, or it is too old.
    """
    trouble = "neither tensorrt nor tensorrt_rtx is installed"
    for name, oldest in MODULES.items():
        try:
            api = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                trouble = f"{name} lacks {error.name}"
            continue
        # Its libraries may be missing, or be those of another system.
        except (ImportError, OSError) as error:
            trouble = f"{name} does not load ({error})"
            continue
        version = str(api.__version__)
        if _numbers(version) < oldest:
            trouble = f"{name} {version} is older than {'.'.join(map(str, oldest))}"
            continue
        return Library(name, version, api)
    raise EngineError(f"the tensorrt engine cannot run: {trouble}; {INSTALL}.")


def make_log(library: Library) -> tuple[Any, Log]:
    """Return a logger to hand to TensorRT, which must outlive what it is handed to, and its log."""
    log, kinds = Log(), library.api.ILogger

    class Logger(kinds):  # a class of the module that was found
        def __init__(self) -> None:
            kinds.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (kinds.INTERNAL_ERROR, kinds.ERROR):
                log.errors.append(msg)

    return Logger(), log


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
