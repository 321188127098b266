"""One edit made and scored: what the judge sees, what stayed outside, what it cost.

Measures of an edit; which of them a task has, `SCORES` says:

- `success`: the judge sees the thing in the colour (and, for `pose`, also in the pose) asked for;
  for `layout`: the box overlaps the one asked for by half or more; for `repaint`: the judge sees
  the thing in its colour.
- `pose`, `identity`: the two halves of `success` for a pose: the thing has the new pose; the thing
  is there and has the colour that it had. Where the picture before is generated, `drawn` says that
  the thing has its first pose there, without which its pose cannot be changed.
- `psnr`, `ssim`: against the picture before, outside the true masks of the thing (before and in the
  true result) grown by `REACH` pixels; for `repaint` outside the box, and for `generated_pose`
  outside the judge's masks of the thing before and after, likewise grown.
- `vae_psnr`: the same for the picture encoded and decoded again: the best that any edit can reach.
- `structure`: intersection over union of the judge's mask of the thing in the result with the
  judge's mask of it in the picture before, 0 where it sees none. Both masks are the judge's, whose
  own faults then count on neither side (its masks overlap the true ones by about two thirds). For a
  pose this is how much of the old silhouette is left, where less is not worse.
- `box_iou`: of the box asked for with the box around the largest part of the judge's mask of the
  thing; 0 where it does not see it.
- `mask_iou`: of the mask that the method made with the true one of the thing, both at latent size;
  only where it made one.
- `rows`, `gradients`: of everything that ran for the edit; where a generated picture is edited, the
  picture before it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scumble import Editor
from scumble.images import from_model, to_model
from scumble.masks import mask_to_latent
from scumble_bench.rooms.judge import Judge, Verdict
from scumble_bench.rooms.methods.cases import Case
from scumble_bench.rooms.methods.measures import (
    Bools,
    Bytes,
    box_iou,
    box_of,
    grown,
    iou,
    largest_part,
    psnr,
    ssim,
)
from scumble_bench.rooms.methods.rows import GENERATED, Row, Task, filled

__all__ = ["REACH", "Made", "make", "score"]

REACH = 12
"""Pixels: a cell and a half of the latent. So far reaches a mask that was rounded to cells and then
grown by one, as MAG-Edit's is."""
OVERLAP = 0.5
ANOTHER = 1_000_000
"""Between a seed and what is called a new one."""


@dataclass(frozen=True, slots=True)
class Made:
    """What an edit gave.

    Attributes:
        before: the picture that was edited, or the one to compare with, (128, 128, 3) uint8.
        after: the result, likewise.
        rows: row evaluations.
        gradients: likewise.
        mask: that the method made, (height, width) bool at latent size; None where it made none.
    """

    before: Bytes
    after: Bytes
    rows: int
    gradients: int
    mask: Bools | None = None


def make(editor: Editor, row: Row, case: Case, number: int, steps: int) -> Made:
    """Make one edit.

    Args:
        editor: a loaded model that remembers no sources, so that each edit pays for its own.
        row: says how.
        case: says what.
        number: of the case; the seed of what is generated.
        steps: DDIM steps.
    """
    if row.method is None:
        runs = [editor.generate(case.target, seed=number, steps=steps)]
        if row.task == "repaint":
            runs.append(editor.generate(case.target, seed=number + ANOTHER, steps=steps))
        before, after = runs[0].image, runs[-1].image
    else:
        given: dict[str, Any] = {"method": row.method, "options": filled(row.options, case)}
        if row.task in GENERATED:
            given |= {"source": case.source, "seed": number}
        else:
            given |= {"image": case.image, "source": case.source, "inversion": row.inversion}
            given["mask"] = case.mask if row.masked else None
        runs = [editor.edit(target=case.target, steps=steps, **(given | dict(row.asked)))]
        before, after = runs[0].source, runs[0].image
    return Made(
        np.asarray(before),
        np.asarray(after),
        sum(run.row_count for run in runs),
        sum(run.gradient_count for run in runs),
        None if row.masked or "" not in runs[0].masks else runs[0].masks[""] > 0,
    )


def score(task: Task, case: Case, made: Made, judge: Judge, editor: Editor) -> dict[str, float]:
    """Return measure -> value of one edit."""
    before, after = judge(np.stack([made.before, made.after]))
    found = SCORES[task](case, made, before, after)
    if task not in GENERATED:
        engine = editor.session.engine
        rebuilt = from_model(engine.decode(engine.encode_image(to_model(made.before))))
        found["vae_psnr"] = psnr(made.before, rebuilt, ~grown(case.changed, REACH))
    if made.mask is not None:
        size = made.mask.shape[0], made.mask.shape[1]
        found["mask_iou"] = iou(made.mask, mask_to_latent(case.mask, size))
    return {**found, "rows": made.rows, "gradients": made.gradients}


def _edited(case: Case, made: Made, before: Verdict, after: Verdict) -> dict[str, float]:
    outside = ~grown(case.changed, REACH)
    return {
        "success": float(after.sees(case.noun, case.colour)),
        "psnr": psnr(made.before, made.after, outside),
        "ssim": ssim(made.before, made.after, outside),
        "structure": iou(before.mask(case.noun), after.mask(case.noun)),
    }


def _posed(case: Case, made: Made, before: Verdict, after: Verdict) -> dict[str, float]:
    pose = after.sees(case.noun) and after.pose[case.noun] == case.pose
    identity = after.sees(case.noun, case.colour)
    both = {"pose": float(pose), "identity": float(identity), "success": float(pose and identity)}
    return _edited(case, made, before, after) | both


def _posed_anew(case: Case, made: Made, before: Verdict, after: Verdict) -> dict[str, float]:
    noun = case.noun
    drawn = before.sees(noun) and before.pose[noun] == case.pose_before
    pose = drawn and after.sees(noun) and after.pose[noun] == case.pose
    identity = before.sees(noun) and after.sees(noun, before.colour[noun])
    outside = ~grown(before.mask(noun) | after.mask(noun), REACH)
    return {
        "drawn": float(drawn),
        "pose": float(pose),
        "identity": float(identity),
        "success": float(pose and identity),
        "psnr": psnr(made.before, made.after, outside),
        "ssim": ssim(made.before, made.after, outside),
        "structure": iou(before.mask(noun), after.mask(noun)),
    }


def _laid_out(case: Case, made: Made, before: Verdict, after: Verdict) -> dict[str, float]:
    box = box_of(largest_part(after.mask(case.noun))) if after.sees(case.noun) else None
    overlap = 0.0 if box is None else box_iou(box, case.box)
    return {"success": float(overlap >= OVERLAP), "box_iou": overlap}


def _repainted(case: Case, made: Made, before: Verdict, after: Verdict) -> dict[str, float]:
    left, top, right, bottom = case.box
    inside = np.zeros(made.before.shape[:2], dtype=bool)
    inside[top:bottom, left:right] = True
    outside = ~grown(inside, REACH)
    return {
        "success": float(after.sees(case.noun, case.colour)),
        "psnr": psnr(made.before, made.after, outside),
        "ssim": ssim(made.before, made.after, outside),
    }


SCORES: Mapping[Task, Callable[[Case, Made, Verdict, Verdict], dict[str, float]]] = {
    "colour": _edited,
    "refine": _edited,
    "pose": _posed,
    "silent_pose": _posed,
    "generated_pose": _posed_anew,
    "crowded": _edited,
    "layout": _laid_out,
    "repaint": _repainted,
}
