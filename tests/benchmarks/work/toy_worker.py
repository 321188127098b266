"""A worker that notes each piece it begins, and does what the piece tells it to.

Tests reach it by `toy`, which puts this folder where it is imported from.
"""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scumble_bench.work.pieces import Piece


class Toy:
    """Doubles numbers.

    Args:
        settings: `log`, a file for what was begun and closed; `broken`, refuses to be made.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if settings.get("broken"):
            raise RuntimeError("there is no engine here")
        self._log = Path(settings["log"])

    def __call__(self, piece: Piece) -> dict[str, Any]:
        """Double `n`; or raise, be interrupted, end the process once or each time, take long."""
        asked = piece.payload
        before = self._log.read_text().split() if self._log.exists() else []
        self._note(piece.key)
        if asked.get("raises"):
            raise ValueError("told to\nraise")
        if asked.get("interrupted") and piece.key not in before:
            raise KeyboardInterrupt
        if asked.get("dies") or (asked.get("dies_once") and piece.key not in before):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(asked.get("seconds", 0))
        return {"twice": 2 * asked["n"], "process": os.getpid(), **asked.get("more", {})}

    def close(self) -> None:
        """Say so."""
        self._note("closed")

    def _note(self, what: str) -> None:
        with self._log.open("a") as file:
            file.write(f"{what}\n")
