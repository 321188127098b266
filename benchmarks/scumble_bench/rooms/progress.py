"""Time budgets of a training run that several calls share, and its progress on the screen."""

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@dataclass
class RunState:
    """What a run remembers between calls, in `state.json` of its work folder.

    Attributes:
        planned: Seconds that all calls together may take.
        spent: Seconds that earlier calls took.
        done: Stages that are complete.
        figures: What was measured on the way, for the model card.
        curves: Per stage, (step, seconds in the stage, loss), thinned out.
        started_from: What `training.json` of the checkpoint says that the run goes on from.
        deviation: The latents' standard deviation that its autoencoder was saved with.
    """

    planned: float
    seed: int
    scenes: int
    spent: float = 0.0
    calls: int = 0
    done: list[str] = field(default_factory=list[str])
    figures: dict[str, Any] = field(default_factory=dict[str, Any])
    curves: dict[str, list[list[float]]] = field(default_factory=dict[str, list[list[float]]])
    started_from: Any = None
    deviation: float | None = None

    @staticmethod
    def load(path: Path) -> "RunState":
        """Reads a state that `save` wrote."""
        return RunState(**json.loads(path.read_text(encoding="utf-8")))

    def save(self, path: Path) -> None:
        """Writes the state in one move."""
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)


class Clock:
    """Tells how much time is left: to this call, and to the whole run.

    A SIGTERM or SIGINT makes both zero, so that every stage saves and ends in good order.
    """

    def __init__(self, state: RunState, minutes: float, started: float | None = None) -> None:
        self.state = state
        self.started = time.monotonic() if started is None else started
        self.call_ends = self.started + minutes * 60
        self.stopped = False

    def catch_signals(self) -> None:
        """Takes over SIGTERM and SIGINT; a second one ends the program at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        signal.signal(number, signal.SIG_DFL)

    def here(self) -> float:
        """Seconds since this call started."""
        return time.monotonic() - self.started

    def elapsed(self) -> float:
        """Seconds of all calls so far."""
        return self.state.spent + self.here()

    def call_left(self) -> float:
        """Seconds left to this call."""
        return 0.0 if self.stopped else self.call_ends - time.monotonic()

    def run_left(self) -> float:
        """Seconds left to the whole run."""
        return self.state.planned - self.elapsed()


class Reporter:
    """A progress bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, console: Console, stage: str, every: float = 10.0) -> None:
        self.console = console
        self.stage = stage
        self.every = every
        self._printed = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=1.0)

    def __enter__(self) -> "Reporter":
        self._bar.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._bar.stop()

    def show(self, share: float, text: Callable[[], str]) -> None:
        """Shows how far a stage is (0 to 1); `text` is asked only when it is shown."""
        now = time.monotonic()
        if now - self._printed < (0.5 if self.console.is_terminal else self.every):
            return
        self._printed = now
        if self.console.is_terminal:
            self._bar.update(self._task, completed=share, description=f"{self.stage} {text()}")
        else:
            self.console.print(f"{self.stage} {share:4.0%} {text()}", highlight=False)


def thin(curve: list[list[float]], limit: int = 100) -> None:
    """Drops every second point of a curve that has grown beyond the limit."""
    if len(curve) > limit:
        del curve[1::2]
