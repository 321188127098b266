"""Results on stdout, as text, table or JSON; remarks and progress on stderr."""

import json
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from scumble.cli.flags import Output
from scumble.cli.reporting import hushed, one_line, shown
from scumble.sampler import Progress

__all__ = ["Work", "print_json", "print_table", "remark", "working"]

UNBOUNDED = 4096  # columns where no terminal sets a width: nothing is cut


def print_json(value: object) -> None:
    """Print one JSON value."""
    print(json.dumps(value, indent=2, sort_keys=False))


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table as wide as the terminal, or as it needs where there is none."""
    console = Console(width=None if sys.stdout.isatty() else UNBOUNDED)
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(cell)) for cell in row))
    console.print(table)


def remark(output: Output, text: str) -> None:
    """Print a remark on stderr, unless nothing is wanted; JSON has its remarks inside."""
    if not output.quiet and not output.as_json:
        print(one_line(text), file=sys.stderr)


class Work:
    """What is being done, shown as a bar where there is a terminal.

    Args:
        bars: where to show it, or None.
    """

    def __init__(self, bars: Bars | None) -> None:
        self._bars = bars
        self._task = None if bars is None else bars.add_task("", total=None)
        self._begun = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the work began."""
        return time.perf_counter() - self._begun

    def stage(self, name: str) -> None:
        """Say what is done now; how long it takes is not known."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, description=name, total=None, completed=0)

    def step(self, progress: Progress) -> None:
        """Count a sampling step; this is a `callback_on_step_end`."""
        if self._bars is not None and self._task is not None:
            done = progress.step + 1
            self._bars.update(
                self._task, description="sampling", total=progress.steps, completed=done
            )


@contextmanager
def working(output: Output) -> Generator[Work]:
    """Hush the libraries, show progress where it can be seen, and count the seconds."""
    visible = sys.stderr.isatty() and not output.quiet and not output.as_json
    with hushed():
        if not visible:
            yield Work(None)
            return
        columns: Any = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            yield Work(bars)
