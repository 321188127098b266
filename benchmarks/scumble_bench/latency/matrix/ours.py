"""Cells of the matrix in which Scumble edits."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from scumble import Run
from scumble.arrays import Array
from scumble_bench.latency.interleaving import Cell, Comparison
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.cases import Case, Pictures, case_of
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.matrix.observing import Breakdown, observed, stages_of
from scumble_bench.latency.records import Measured, Range

__all__ = ["OwnCell", "generates"]


@dataclass(slots=True)
class OwnCell:
    """A cell, and what its runs told.

    Attributes:
        spec: which.
        editors: from which its editor comes.
        seed: of pictures' last bits, and of what is generated.
        runs: the split of every run, the untimed ones first.
        rows: of the last run, inversion included.
        gradients: of the last run.
        notes: of the last run.
    """

    spec: CellSpec
    editors: Editors
    seed: int = 0
    runs: list[Breakdown] = field(default_factory=list[Breakdown])
    rows: int | None = None
    gradients: int | None = None
    notes: tuple[str, ...] = ()

    def cell(self) -> Cell:
        """Return what is timed; the model is loaded once, in the first untimed moment."""
        prepared = cache(self._prepared)
        return Cell(
            self.spec.name,
            lambda: prepared()[1](),
            lambda: prepared()[0](),
        )

    def measured(self, done: Comparison, baseline: str) -> Measured:
        """Return the cell's record.

        Args:
            done: the comparison it was part of.
            baseline: name of the cell that ratios are against.
        """
        spec, timing = self.spec, done.timings[self.spec.name]
        timed = self.runs[-len(timing.seconds) :] if timing.seconds else []
        shares = [run.host_share for run in timed if run.host_share is not None]
        ratio = done.ratio(baseline, spec.name) if baseline in done.timings else None
        return Measured(
            name=spec.name,
            method=spec.method,
            engine=spec.engine,
            precision=spec.precision,
            model=spec.model,
            size=spec.size,
            steps=spec.steps,
            edit=spec.edit,
            convention=spec.convention,
            seconds=timing.seconds,
            spread=Range.of(timing.seconds),
            ratio=ratio and Range(median=ratio.median, p10=ratio.p10, p90=ratio.p90),
            rows=self.rows,
            gradients=self.gradients,
            stages=stages_of(timed),
            host_share=Range.of(shares),
            failure=timing.failure,
            notes=self.notes,
        )

    def _prepared(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return what goes before each run, and the run."""
        case = case_of(self.spec)
        editor = self.editors.for_cell(self.spec)
        pictures = Pictures(case, self.seed)
        made_known = cache(
            lambda: case.edit(editor, pictures.known, pictures.known_seed, case.another)
        )
        waiting: list[tuple[Array | None, int]] = []

        def prepare() -> None:
            if self.spec.edit == "first":
                # Prompts that were encoded before are no part of a first edit.
                editor.session.forget_texts()
                waiting.append(pictures.unseen())
            else:
                made_known()
                waiting.append((pictures.known, pictures.known_seed))

        def run() -> None:
            picture, seed = waiting.pop()
            with observed(editor.session) as seen:
                begun = time.perf_counter()
                finished = case.edit(editor, picture, seed)
                spent = time.perf_counter() - begun
            self._note(finished, seen.take(spent, finished.timings))

        return prepare, run

    def _note(self, finished: Run, split: Breakdown) -> None:
        self.runs.append(split)
        self.rows, self.gradients = finished.row_count, finished.gradient_count
        self.notes = finished.notes


def generates(case: Case) -> bool:
    """Return whether a case has no picture, so that none of its edits is a next one."""
    return case.pixels is None
