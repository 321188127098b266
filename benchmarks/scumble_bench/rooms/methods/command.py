"""Measures methods on held-out scenes: `python -m scumble_bench.rooms.methods`.

Writes a row a method and task, and the papers' claims with their verdicts. A claim that did not
hold is reported and is no failure: only what cannot be measured is. A run that was stopped goes on
where it was, if nothing that the rows depend on was changed.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble import Editor
from scumble.engine import GUIDED
from scumble.models import find_checkpoint
from scumble_bench.latency.provenance import commit, provenance, versions
from scumble_bench.latency.report import write_report
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import KINDS, CaseSet, Kind, draw_cases
from scumble_bench.rooms.methods.report import (
    Unfinished,
    claims_of,
    markdown_of,
    print_report,
    row_report,
)
from scumble_bench.rooms.methods.rows import ROWS, Row, cases_of
from scumble_bench.rooms.methods.scoring import make, score

__all__ = ["main", "parser"]

RESULTS = Path(__file__).resolve().parents[3] / "results" / "methods.json"
NOTES = (
    "Options are the published defaults, at fewer steps than the published 50; the same on both "
    "sides of each claim.",
    "The judge is a small network with faults of its own: benchmarks/results/quality.json.",
    "The model draws roughly, and hardly knows poses when it generates (quality.json, prompt_poses)"
    ": what is low for every method is low for the model's sake.",
    "Re-painting is measured on generated pictures only; of pictures that are brought nothing is "
    "claimed.",
)
BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.rooms.methods", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--out", type=Path, default=RESULTS, help="file of the figures")
    made.add_argument("--model", default="rooms", help="rooms, or a model trained on its world")
    made.add_argument("--edits", type=int, default=50, help="of each row")
    made.add_argument("--steps", type=int, default=20, help="DDIM steps of each edit")
    made.add_argument("--threads", type=int, help="of the engines")
    made.add_argument("--show", action="store_true", help="print the file's tables as Markdown")
    made.add_argument("--tasks", nargs="+", choices=sorted({row.task for row in ROWS}))
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    chosen = parser().parse_args(arguments)
    if chosen.show:
        print(markdown_of(json.loads(chosen.out.read_text(encoding="utf-8"))), end="")
        return 0
    judge = Judge.load(CHECKPOINT / "judge")
    wanted = [row for row in ROWS if not chosen.tasks or row.task in chosen.tasks]
    weights = {chosen.model: find_checkpoint(chosen.model).fingerprint()}
    origin = provenance(chosen.threads, weights)
    key = {
        "edits": chosen.edits,
        "steps": chosen.steps,
        "commit": commit(),
        "versions": versions(),
        "weights_sha256": weights,
    }
    unfinished = Unfinished(chosen.out.with_suffix(".part.json"), key)
    kinds = {cases_of(row.task) for row in wanted}
    sets: dict[Kind, CaseSet] = {
        kind: draw_cases(kind, chosen.edits, judge) for kind in KINDS if kind in kinds
    }
    known = {(row["task"], row["name"]): row for row in unfinished.rows()}
    done: list[dict[str, Any]] = []
    console = Console()
    with Engines(chosen.model, chosen.threads) as engines, Progress(*BAR, console=console) as bar:
        overall = bar.add_task("methods", total=len(wanted) * chosen.edits)
        for row in wanted:
            bar.update(overall, description=f"{row.task}: {row.name}")
            before = known.get((row.task, row.name))
            if before is not None and before | row.as_json() == before:
                done.append(before)
                bar.advance(overall, chosen.edits)
                continue
            done.append(
                _measured(row, sets, judge, engines, chosen.steps, lambda: bar.advance(overall))
            )
            unfinished.keep(done)
    report: dict[str, Any] = {
        "steps": chosen.steps,
        "guidance": 7.5,
        "notes": list(NOTES),
        "cases": {kind: _told(found) for kind, found in sets.items()},
        "claims": claims_of(done),
        "rows": done,
        "provenance": origin,
    }
    write_report(chosen.out, report)
    unfinished.remove()
    print_report(report, console)
    return 0


class Engines:
    """Editors of one model by engine, each loaded when it is first asked for.

    Args:
        model: as `Editor.load` takes it.
        threads: likewise.
    """

    def __init__(self, model: str, threads: int | None) -> None:
        self._model, self._threads = model, threads
        self._open: dict[str, Editor] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Engines":
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def for_row(self, row: Row) -> Editor:
        """Return an editor that remembers no sources: of onnxruntime, where that will do."""
        quick = self._of("onnxruntime")
        if row.gradients and not quick.session.engine.supports(GUIDED):
            return self._of("torch")
        return quick

    def _of(self, engine: str) -> Editor:
        if engine not in self._open:
            loaded = Editor.load(self._model, engine, source_memory=0, threads=self._threads)
            self._open[engine] = self._stack.enter_context(loaded)
        return self._open[engine]


def _measured(
    row: Row,
    sets: dict[Kind, CaseSet],
    judge: Judge,
    engines: Engines,
    steps: int,
    advance: Callable[[], None],
) -> dict[str, Any]:
    """Return what the file holds of a row, measured now."""
    editor = engines.for_row(row)

    def values() -> Iterator[dict[str, float]]:
        for number, case in enumerate(sets[cases_of(row.task)].cases):
            made = make(editor, row, case, number, steps)
            yield score(row.task, case, made, judge, editor)
            advance()

    engine = editor.session.provenance()["engine"]
    return row_report(row.as_json(), list(values()), {"engine": engine})


def _told(found: CaseSet) -> dict[str, Any]:
    """Return what the file holds of the edits of a kind."""
    return {
        "looked_at": found.looked_at,
        "misjudged": found.misjudged,
        "seeds": " ".join(str(case.seed) for case in found.cases),
    }
