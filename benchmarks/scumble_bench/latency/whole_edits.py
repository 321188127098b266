"""Part `demo`: whole edits of a demo picture, Scumble's engines against the reference way.

The reference way inverts and computes everything anew, so its one cell stands beside both of ours:
the first edit of a picture that the editor has not seen, and the next edit of one that it has.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from typing import Any

from scumble import Editor
from scumble.arrays import Array
from scumble.models import find_checkpoint
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.interleaving import Cell, Spread, interleave
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.targets import Finding
from scumble_bench.peers.reference_p2p import ReferenceP2P

__all__ = ["measure"]

REFERENCE = "reference"
STEPS = 50


def measure(settings: Settings) -> Part:
    """Time whole edits on the demo checkpoint, all cells interleaved."""
    edit, picture = TimedEdit(settings.steps), unseen()
    rows: dict[str, int] = {}
    with ExitStack() as stack:
        cells = [_reference(settings, edit, picture, rows)]
        for engine in settings.engines:
            cells += _of_engine(engine, settings, edit, picture, rows, stack)
        done = interleave(*cells, rounds=settings.rounds, warmup=settings.warmup)
    part = Part(
        facts={**edit.arguments, "rows": rows},
        comparisons={"edits": done},
        weights={settings.model: find_checkpoint(settings.model).fingerprint()},
    )
    for engine in settings.engines:
        first, after = f"{engine}: first edit", f"{engine}: next edit"
        for target, name in (("demo.first", first), ("demo.next", after)):
            ratio = done.ratio(REFERENCE, name)
            part.findings.append(Finding(target, engine, ratio, done.failure(REFERENCE, name)))
        seconds, why = Spread.of(done.timings[first].seconds), done.failure(first)
        if not why and settings.steps != STEPS:
            why = f"the target is for {STEPS} steps, and {settings.steps} were run"
        part.findings.append(Finding("demo.seconds", engine, seconds, why))
    return part


def _reference(
    settings: Settings, edit: TimedEdit, picture: Callable[[], Array], rows: dict[str, int]
) -> Cell:
    load = cache(lambda: ReferenceP2P.load(settings.model, threads=settings.threads))

    def run() -> None:
        rows[REFERENCE] = sum(load().edit(picture(), **edit.arguments).rows.values())

    return Cell(REFERENCE, run, load)


def _of_engine(
    engine: str,
    settings: Settings,
    edit: TimedEdit,
    picture: Callable[[], Array],
    rows: dict[str, int],
    stack: ExitStack,
) -> list[Cell]:
    """Return the cells of an engine; its model is loaded once, in the first untimed moment."""
    known = picture()

    @cache
    def load() -> Editor:
        return stack.enter_context(settings.load(settings.model_for(engine), engine))

    @cache
    def know() -> None:
        edit.make_known(load(), known)

    def run(name: str, given: Callable[[], Array]) -> Callable[[], Any]:
        def edited() -> None:
            rows[name] = load().edit(given(), **edit.arguments).row_count

        return edited

    first, after = f"{engine}: first edit", f"{engine}: next edit"
    return [
        Cell(first, run(first, picture), load),
        Cell(after, run(after, lambda: known), know),
    ]
