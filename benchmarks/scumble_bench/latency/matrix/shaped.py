"""Cells with SD1.5's shapes: edits composed from single steps, and a short one run whole.

The composed ones say how many times as fast; the short one says what share of a step passes
outside the UNet, for which no step has to be repeated.
"""

import time
from collections.abc import Mapping
from typing import Any

from scumble_bench.latency.composed import OPTIONS, measure
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.interleaving import Comparison, cause_of
from scumble_bench.latency.matrix.observing import Breakdown, observed, stages_of
from scumble_bench.latency.parts import Settings
from scumble_bench.latency.records import Measured, Range

__all__ = ["MODEL", "WHOLE_STEPS", "measure_shapes", "rows_in"]

MODEL = "SD1.5 shapes"
WHOLE_STEPS = 4
COMPOSED = (
    "Composed of single steps that were timed; no edit of this many steps was run whole. Text, "
    "autoencoder and what happens between steps are left out on both sides."
)
REFERENCE = "reference prompt_to_prompt"


def measure_shapes(settings: Settings) -> tuple[Measured, ...]:
    """Return the cells of every engine.

    Args:
        settings: `shape` is written where it is not there; `shape_pack` is for engines of packs.
    """
    side = settings.pixels or 0
    given: dict[str, Any] = {"precision": "fp32", "model": MODEL, "size": (side, side)}
    part = measure(settings)
    found: list[Measured] = []
    for engine in settings.engines:
        done = part.comparisons.get(engine)
        if done is None:
            why = next((f.why for f in part.findings if f.engine == engine), "it was not measured")
            edits = ("first", "next")
            found += [_failed(engine, settings.steps, edit, why, given) for edit in edits]
        else:
            found += _composed(engine, done, part.facts[engine], settings.steps, given)
        found.append(_whole(engine, settings, given))
    return tuple(found)


def rows_in(counts: Mapping[str, int]) -> int:
    """Return the rows of steps that are counted by kind, as in `PREFIX: 3 rows, mix+route`."""
    return sum(count * int(kind.split(": ")[1].split()[0]) for kind, count in counts.items())


def _composed(
    engine: str,
    done: Comparison,
    facts: Mapping[str, Any],
    steps: int,
    given: Mapping[str, Any],
) -> list[Measured]:
    reference = dict[str, int](facts["reference"]["steps"])
    found: list[Measured] = []
    for who in ("reference", "first edit", "next edit"):
        counts = dict[str, int](facts[who]["steps"])
        peer = who == "reference"
        seconds = done.composed(counts)
        ratio = done.ratio(reference, counts)
        method = REFERENCE if peer else "prompt_to_prompt"
        beside = f"beside {engine}" if peer else who
        found.append(
            Measured(
                **given,
                name=f"{method}, {MODEL}, {steps} steps composed, {engine}, {beside}",
                method=method,
                peer=peer,
                engine="torch" if peer else engine,
                steps=steps,
                edit="next" if who == "next edit" else "first",
                seconds=seconds,
                spread=Range.of(seconds),
                ratio=ratio and Range(median=ratio.median, p10=ratio.p10, p90=ratio.p90),
                composed=True,
                rows=rows_in(counts),
                failure=done.failure(*counts) or None,
                notes=(COMPOSED, f"Its ratio is against {REFERENCE} of the same rounds."),
            )
        )
    return found


def _whole(engine: str, settings: Settings, given: Mapping[str, Any]) -> Measured:
    """Return a first edit of few steps, run whole, with its stages."""
    edit = TimedEdit(WHOLE_STEPS, OPTIONS, settings.size)
    made: dict[str, Any] = {
        **given,
        "name": f"prompt_to_prompt, {engine}, {MODEL}, {WHOLE_STEPS} steps, first edit",
        "method": "prompt_to_prompt",
        "engine": engine,
        "steps": WHOLE_STEPS,
        "edit": "first",
    }
    runs: list[Breakdown] = []
    spent: list[float] = []
    # Whatever hinders one engine is reported as the reason, and the others go on.
    try:
        with settings.load(settings.shape_for(engine), engine) as editor:
            picture = unseen()
            editor.edit(picture(), **edit.arguments)  # probes, and makes graphs ready
            for _ in range(settings.rounds):
                editor.session.forget_texts()
                shown = picture()
                with observed(editor.session) as seen:
                    begun = time.perf_counter()
                    finished = editor.edit(shown, **edit.arguments)
                    spent.append(time.perf_counter() - begun)
                runs.append(seen.take(spent[-1], finished.timings))
                made["rows"] = finished.row_count
    except Exception as error:  # as said above
        return Measured(**made, failure=cause_of(error))
    shares = [run.host_share for run in runs if run.host_share is not None]
    return Measured(
        **made,
        seconds=tuple(spent),
        spread=Range.of(spent),
        stages=stages_of(runs),
        host_share=Range.of(shares),
    )


def _failed(engine: str, steps: int, edit: Any, why: str, given: Mapping[str, Any]) -> Measured:
    return Measured(
        **given,
        name=f"prompt_to_prompt, {MODEL}, {steps} steps composed, {engine}, {edit} edit",
        method="prompt_to_prompt",
        engine=engine,
        steps=steps,
        edit=edit,
        composed=True,
        failure=why,
    )
