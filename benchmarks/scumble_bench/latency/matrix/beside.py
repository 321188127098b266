"""Cells of the matrix in which a peer does the same work; its time counts where it agrees."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from scumble_bench.latency.interleaving import Cell, Comparison
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.records import Measured, Range
from scumble_bench.peers.peer import Peer, PeerEntry, PeerRun, agreement

__all__ = ["DisagreementError", "PeerCell", "beside"]

IN_FP32 = "Agreement was looked at in fp32, for the tolerance is that of fp32."


class DisagreementError(Exception):
    """A peer's latents are not ours, so its time says nothing."""


@dataclass(slots=True)
class PeerCell:
    """A cell, and what its runs told.

    Attributes:
        entry: of the registry.
        spec: of an own cell beside which it stands; says all but who does the work.
        editors: from which the editor comes that it is compared with.
        apart: agreement; None until it was computed.
        last: of its runs.
    """

    entry: PeerEntry
    spec: CellSpec
    editors: Editors
    apart: float | None = None
    last: list[PeerRun] = field(default_factory=list[PeerRun])

    @property
    def name(self) -> str:
        """What no other cell is called."""
        return self.spec.title(self.entry.name)

    def cell(self) -> Cell:
        """Return what is timed; loading and comparing happen once, in the first untimed moment."""
        prepared = cache(self._prepared)
        return Cell(self.name, lambda: prepared()(), prepared)

    def measured(self, done: Comparison, baseline: str) -> Measured:
        """Return the cell's record; one that does not agree has a failure and no ratio.

        Args:
            done: the comparison it was part of.
            baseline: name of the cell that ratios are against.
        """
        timing, entry = done.timings[self.name], self.entry
        ratio = done.ratio(baseline, self.name) if baseline in done.timings else None
        last = self.last[-1] if self.last else None
        return Measured(
            name=self.name,
            method=entry.name,
            peer=True,
            engine=entry.engine,
            precision=self.spec.precision,
            model=self.spec.model,
            size=self.spec.size,
            steps=self.spec.steps,
            edit="first",
            seconds=timing.seconds,
            spread=Range.of(timing.seconds),
            ratio=ratio and Range(median=ratio.median, p10=ratio.p10, p90=ratio.p90),
            agreement=self.apart,
            tolerance=entry.tolerance,
            rows=last and last.row_count,
            gradients=last and last.gradients,
            failure=timing.failure,
            notes=(*entry.notes, *((IN_FP32,) if self.spec.precision != "fp32" else ())),
        )

    def _prepared(self) -> Callable[[], None]:
        spec, entry = self.spec, self.entry
        work, picture = entry.work(spec.steps, spec.size), entry.picture()
        peer = self._loaded(spec.precision)
        # A precision with less digits cannot be held to the tolerance; the same code in fp32 can.
        exact = peer if spec.precision == "fp32" else self._loaded("fp32")
        editor = self.editors.of(spec.model, entry.engine, "fp32")
        self.apart = agreement(exact.run(work, picture).latents, entry.ours(editor, work, picture))
        # Not `>`: what is not a number agrees with nothing.
        if not self.apart <= entry.tolerance:
            raise DisagreementError(
                f"its latents differ from ours by {self.apart:.1e} of the largest value, and "
                f"{entry.tolerance:.0e} is allowed; its time is that of something else"
            )

        def run() -> None:
            self.last.append(peer.run(work, picture))
            del self.last[:-1]

        return run

    def _loaded(self, precision: Any) -> Peer:
        device = "cuda" if self.editors.device.startswith("cuda") else "cpu"
        return self.entry.load(self.spec.model, precision, self.editors.threads, device)


def beside(
    entries: tuple[PeerEntry, ...], specs: list[CellSpec], editors: Editors
) -> list[PeerCell]:
    """Return a cell of each peer for each model, size, steps and precision of the own cells.

    A peer of a method stands beside cells of that method only, one that generates beside all.
    """
    found: dict[str, PeerCell] = {}
    for entry in entries:
        for spec in specs:
            if entry.method in ("generate", spec.method):
                asked = CellSpec(
                    entry.method, entry.engine, spec.precision, spec.model, spec.size, spec.steps,
                    "first",
                )  # fmt: skip
                cell = PeerCell(entry, asked, editors)
                found.setdefault(cell.name, cell)
    return list(found.values())
