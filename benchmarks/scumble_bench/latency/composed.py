"""Part `shapes`: an edit with SD1.5's shapes, composed from measured steps.

A whole edit takes too long on a CPU to be repeated. So each kind of step is measured, all of them
interleaved, and multiplied by how often an edit takes it: for Scumble as a rehearsal of `Editor`
counts them, for the reference way by its definition. Left out on both sides is what happens between
steps (schedule, blending), text encoding and the autoencoder.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch

from scumble import Editor
from scumble.models import find_checkpoint
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.interleaving import Cell, Comparison, Spread, cause_of, interleave
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.rehearsal import rehearsal
from scumble_bench.latency.shapes import write_shape
from scumble_bench.latency.targets import Finding
from scumble_bench.peers.loading import Modules
from scumble_bench.peers.reference_p2p import ReferenceP2P
from scumble_engines.torch import TorchEngine

__all__ = ["OPTIONS", "Counted", "count_steps", "measure"]

# The windows of PIE-Bench, and a blend, which keeps the source in every step of ours.
OPTIONS = {"cross_window": 0.4, "self_window": 0.6, "blend_words": ("sofa",)}


class Counted:
    """The steps of an editor's first and next edit of a picture.

    Attributes:
        first: kind of step -> how often.
        next: likewise.
        cells: one for each kind, named `PREFIX: KIND`.
    """

    def __init__(self, prefix: str, first: Counter[str], after: Counter[str]) -> None:
        self.first = {f"{prefix}: {kind}": count for kind, count in first.items()}
        self.next = {f"{prefix}: {kind}": count for kind, count in after.items()}
        self.cells: list[Cell] = []


def count_steps(
    editor: Editor, edit: TimedEdit, prefix: str, prepare: Callable[[], object] | None = None
) -> Counted:
    """Rehearse a first and a next edit; each kind of step is run once.

    Args:
        editor: with the model and engine.
        edit: what is to be counted.
        prefix: of the cells' names.
        prepare: called before each timed step.
    """
    engine, picture = editor.session.engine, unseen()
    if prepare is not None:
        prepare()
    with rehearsal(engine):
        # The host probes every port that it has not used before; those steps are not the edit's.
        known = picture()
        edit.make_known(editor, known)
        editor.edit(known, **edit.arguments)
    with rehearsal(engine) as noted:
        known = picture()
        editor.edit(known, **edit.arguments)
        first = noted.take()
        editor.edit(known, **edit.arguments)
        counted = Counted(prefix, first, noted.take())

    def run(ports: Mapping[str, object]) -> Callable[[], object]:
        return lambda: engine.step(ports)

    counted.cells = [
        Cell(f"{prefix}: {kind}", run(ports), prepare) for kind, ports in noted.ports.items()
    ]
    return counted


def measure(settings: Settings) -> Part:
    """Time the steps on each engine beside those of the reference way, one engine at a time."""
    edit = TimedEdit(settings.steps, OPTIONS, settings.size)
    folder = write_shape(settings.shape)
    weights = {"shape": find_checkpoint(folder).fingerprint()}
    part = Part({**edit.arguments, "composed": __doc__}, weights=weights)
    for engine in settings.engines:
        try:
            done, counted, theirs = _on(engine, settings, edit)
        # Whatever hinders one engine is reported as the reason, and the others go on.
        except Exception as error:
            part.findings += [
                Finding(target, engine, None, cause_of(error))
                for target in ("shapes.first", "shapes.next")
            ]
            continue
        part.comparisons[engine] = done
        part.facts[engine] = {
            name: {"steps": counts, "seconds": _seconds(done, counts)}
            for name, counts in (
                ("reference", theirs), ("first edit", counted.first), ("next edit", counted.next),
            )
        }  # fmt: skip
        for target, ours in (("shapes.first", counted.first), ("shapes.next", counted.next)):
            why = done.failure(*theirs, *ours)
            part.findings.append(Finding(target, engine, done.ratio(theirs, ours), why))
    return part


def _seconds(done: Comparison, counts: Mapping[str, int]) -> dict[str, float] | None:
    spread = Spread.of(done.composed(counts))
    return None if spread is None else spread.as_json()


def _on(
    engine: str, settings: Settings, edit: TimedEdit
) -> tuple[Comparison, Counted, dict[str, int]]:
    with ExitStack() as stack:
        editor = stack.enter_context(settings.load(settings.shape_for(engine), engine))
        loaded = editor.session.engine
        if isinstance(loaded, TorchEngine):
            # One UNet for both, which takes turns with its attention processors.
            unet, vae, texts, _ = loaded.parts
            ours = dict(unet.attn_processors)
            reference = ReferenceP2P(
                Modules(unet, vae, texts.first), find_checkpoint(settings.shape)
            )
            theirs = dict(unet.attn_processors)
            counted = count_steps(editor, edit, engine, lambda: unet.set_attn_processor({**ours}))
            cells, counts = _reference_cells(
                reference, edit, lambda: unet.set_attn_processor({**theirs})
            )
        else:
            counted = count_steps(editor, edit, engine)
            reference = ReferenceP2P.load(settings.shape, threads=settings.threads)
            cells, counts = _reference_cells(reference, edit, lambda: None)
        done = interleave(*cells, *counted.cells, rounds=settings.rounds, warmup=settings.warmup)
    return done, counted, counts


def _reference_cells(
    reference: ReferenceP2P, edit: TimedEdit, install: Callable[[], object]
) -> tuple[list[Cell], dict[str, int]]:
    """Return the reference way's kinds of step, and how often an edit of a picture takes each."""
    given: dict[str, Any] = edit.arguments
    controller = reference.controller(
        given["source"], given["target"], given["options"], edit.steps
    )
    latents = torch.randn(2, 4, *reference.latent_size(edit.size))
    with torch.inference_mode():
        text = reference.embed([given["source"], given["target"]])

    @torch.inference_mode()
    def inversion() -> None:
        reference.predict(latents[:1], 481, text[2:3], "inversion")

    @torch.inference_mode()
    def offset() -> None:
        reference.guided(latents, 481, text, 7.5, None)

    @torch.inference_mode()
    def edited() -> None:
        reference.guided(latents, 481, text, 7.5, controller)
        controller.end_step()

    def at(step: int) -> Callable[[], object]:
        def prepare() -> None:
            install()
            controller.step = step

        return prepare

    cells = [
        Cell("reference: 1 row, inversion", inversion, install),
        Cell("reference: 4 rows, offset", offset, install),
    ]
    counts = {cell.name: edit.steps for cell in cells}
    for taken in (True, False):
        steps = [step for step, on in enumerate(controller.self_steps) if on is taken]
        if steps:
            name = f"reference: 4 rows, edit, self-attention {'taken' if taken else 'kept'}"
            cells.append(Cell(name, edited, at(steps[0])))
            counts[name] = len(steps)
    return cells, counts
