"""What the demo tells of an edit: what the judge sees, what stayed, what it cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from scumble import Editor, Run
from scumble.images import from_model, load_picture, to_model
from scumble.masks import load_mask
from scumble_bench.demo_edits import DemoEdit, DemoPicture, MethodEdit
from scumble_bench.rooms.methods.measures import box_iou, box_of, grown, largest_part, psnr

if TYPE_CHECKING:
    from scumble_bench.rooms.judge import Judge, Verdict

__all__ = ["LeftOut", "Outcome", "of_edit", "of_method", "table_of"]

SIZE = 128
HEADINGS = (
    "picture", "edit", "the judge sees", "as\nasked", "stayed\ndB", "VAE\ndB", "rows", "grad.", "s",
)  # fmt: skip
HALF = 0.5
"""Of the box asked for and the one around the thing, the part that both have to share."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the demo's table.

    Attributes:
        picture: file name; empty where the picture was generated.
        kind: swap, refine or reweight; or the method.
        target: target prompt.
        changed: what the judge sees of the thing before and after.
        as_asked: True if the judge sees what was asked for; None where it cannot tell.
        stayed: PSNR in dB to the source outside the thing; None where it was generated.
        autoencoder: the same for the source encoded and decoded: the best there is.
        rows: row evaluations, inversion included.
        gradients: likewise.
        seconds: of the edit, loading excluded.
        engine: that ran the UNet.
    """

    picture: str
    kind: str
    target: str
    changed: str
    as_asked: bool | None
    stayed: float | None
    autoencoder: float | None
    rows: int
    gradients: int
    seconds: float
    engine: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An edit that was not made.

    Attributes:
        kind: the method.
        target: target prompt.
        why: a sentence.
    """

    kind: str
    target: str
    why: str


def of_edit(
    picture: DemoPicture,
    edit: DemoEdit,
    run: Run,
    judge: "Judge",
    editor: Editor,
    seconds: float,
) -> Outcome:
    """Return what came of an edit by Prompt-to-Prompt."""
    first, second = judge(np.stack([np.asarray(run.source), np.asarray(run.image)]))
    stayed, autoencoder = _kept(picture, edit, run, editor)
    shown = edit.becomes or edit.thing
    now = f"{second.colour[shown]} {shown}" if second.sees(shown) else f"no {shown}"
    judged = edit.becomes is not None or edit.colour is not None
    return Outcome(
        picture=picture.path.name,
        kind=edit.kind,
        target=edit.target,
        changed=f"{first.colour[edit.thing]} {edit.thing} -> {now}",
        as_asked=bool(second.sees(shown, edit.colour)) if judged else None,
        stayed=stayed,
        autoencoder=autoencoder,
        rows=run.row_count,
        gradients=run.gradient_count,
        seconds=seconds,
        engine=run.provenance["engine"],
    )


def of_method(
    edit: MethodEdit, run: Run, judge: "Judge", editor: Editor, seconds: float
) -> Outcome:
    """Return what came of an edit by another method."""
    picture = edit.picture
    first, second = judge(np.stack([np.asarray(run.source), np.asarray(run.image)]))
    stayed, autoencoder = (None, None) if picture is None else _kept(picture, edit, run, editor)
    return Outcome(
        picture="" if picture is None else picture.path.name,
        kind=edit.method,
        target=edit.target,
        changed=f"{_said(first, edit)} -> {_said(second, edit)}",
        as_asked=_asked(second, edit),
        stayed=stayed,
        autoencoder=autoencoder,
        rows=run.row_count,
        gradients=run.gradient_count,
        seconds=seconds,
        engine=run.provenance["engine"],
    )


def _kept(
    picture: DemoPicture, edit: DemoEdit | MethodEdit, run: Run, editor: Editor
) -> tuple[float, float]:
    """Return PSNR in dB outside the thing: of the result, and of the source encoded and decoded."""
    before, after = np.asarray(run.source), np.asarray(run.image)
    original = load_picture(picture.path).size
    inside = load_mask(picture.mask_of(edit.thing), original, fitted=(SIZE, SIZE))
    # A little more than the thing: its shadow and outline change with it.
    outside = ~grown(inside, 6)
    engine = editor.session.engine
    rebuilt = from_model(engine.decode(engine.encode_image(to_model(before))))
    return psnr(before, after, outside), psnr(before, rebuilt, outside)


def _said(verdict: "Verdict", edit: MethodEdit) -> str:
    """Return what the judge sees of a thing, in words."""
    if not verdict.sees(edit.thing):
        return f"no {edit.thing}"
    pose = "" if edit.pose is None else f"{verdict.pose[edit.thing]} "
    box = "" if edit.box is None else f" ({_overlap(verdict, edit):.0%} in its box)"
    return f"{pose}{verdict.colour[edit.thing]} {edit.thing}{box}"


def _overlap(verdict: "Verdict", edit: MethodEdit) -> float:
    """Return intersection over union of the box asked for with the one around the thing."""
    found = box_of(largest_part(verdict.mask(edit.thing)))
    return 0.0 if found is None or edit.box is None else box_iou(found, edit.box)


def _asked(verdict: "Verdict", edit: MethodEdit) -> bool:
    """Return whether the judge sees what was asked for."""
    posed = edit.pose is None or verdict.pose[edit.thing] == edit.pose
    placed = edit.box is None or _overlap(verdict, edit) >= HALF
    return bool(verdict.sees(edit.thing, edit.colour) and posed and placed)


def table_of(outcomes: list[Outcome]) -> Table:
    """Return the table that is printed."""
    engines = ", ".join(dict.fromkeys(row.engine for row in outcomes))
    table = Table(title=f"What changed, what stayed ({engines})", box=SIMPLE, padding=(0, 1, 0, 0))
    for number, heading in enumerate(HEADINGS):
        # What the judge sees may take lines; all else would be cut where a terminal is narrow.
        side = "right" if number > 3 else "left"
        table.add_column(heading, justify=side, no_wrap=heading != HEADINGS[2])
    for row in outcomes:
        asked = {True: "yes", False: "no", None: "-"}[row.as_asked]
        table.add_row(
            Path(row.picture).stem or "generated",
            row.kind,
            row.changed,
            asked,
            "-" if row.stayed is None else f"{row.stayed:.1f}",
            "-" if row.autoencoder is None else f"{row.autoencoder:.1f}",
            str(row.rows),
            str(row.gradients),
            f"{row.seconds:.1f}",
        )
    return table
