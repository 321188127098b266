"""The edits that methods are measured on: held-out scenes, prompts, and what is true of both.

A scene's caption is the source prompt, and the target prompt differs by one word, or by one word
more. The same room drawn with that one thing changed is the true result: it says how far the change
may reach. A scene is taken only if the judge is right about the thing in the drawing *and* in the
true result, so that a perfect edit would count as one; what an edit makes of it plays no part.

Kinds of edits:

- `colour`: another colour; both prompts name one.
- `refine`: another colour; the source prompt names none, so that a word is added.
- `pose`: another pose of a cat or a dog; both prompts name one.
- `silent_pose`: the same, in prompts that do not name its colour: only the picture says who it is.
- `crowded`: another colour, in a scene of four things or more.
- `layout`: a prompt that names one or two things, and the box of one of them. No picture is edited.
"""

import random
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from scumble_bench.rooms import world
from scumble_bench.rooms.judge import Judge, Verdict
from scumble_bench.rooms.methods.measures import Bools, Box, Bytes, iou

__all__ = ["KINDS", "Case", "CaseSet", "Kind", "case_of", "draw_cases", "reworded"]

Kind: TypeAlias = Literal["colour", "refine", "pose", "silent_pose", "crowded", "layout"]
KINDS: tuple[Kind, ...] = ("colour", "refine", "pose", "silent_pose", "crowded", "layout")
VISIBLE = 300
"""Fewest pixels that are seen of a thing that is edited: about five cells of the latent."""
OVERLAP = 0.5
"""Least intersection over union of the judge's mask of the thing with the true one."""
CROWD = 4
FEW = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One edit, with its ground truth.

    Attributes:
        seed: of the scene.
        image: the drawing, (128, 128, 3) uint8.
        source: describes it.
        target: describes what it is to become.
        noun: the thing that is edited.
        word: what it is to become: a colour or a pose; for a layout its colour.
        colour: that the thing has in the true result.
        pose: likewise, None where it has none.
        pose_before: that it has in the drawing, None where it has none.
        mask: (128, 128) bool, where the thing is seen.
        changed: (128, 128) bool, where it is seen before or in the true result.
        box: of the mask.
    """

    seed: int
    image: Bytes
    source: str
    target: str
    noun: str
    word: str
    colour: str
    pose: str | None
    pose_before: str | None
    mask: Bools
    changed: Bools
    box: Box


@dataclass(frozen=True, slots=True)
class CaseSet:
    """The edits of a kind.

    Attributes:
        cases: in the order of their seeds.
        looked_at: scenes that were looked at to find them.
        misjudged: of these, scenes with such an edit that were left out since the judge was wrong
            about the drawing or the true result.
    """

    cases: tuple[Case, ...]
    looked_at: int
    misjudged: int


@dataclass(frozen=True, slots=True)
class _Proposal:
    case: Case
    item: world.Item
    truth: npt.NDArray[np.uint8]


def reworded(text: str, span: tuple[int, int], word: str) -> str:
    """Return a text with another word, or with none, at a span; `a` and `an` before it are right.

    Args:
        text: a caption.
        span: first character and the one after the last.
        word: may be empty.
    """
    before, after = text[: span[0]], text[span[1] :]
    if not word:
        after = after.removeprefix(" ")
    follows = word or after
    words = before.split()
    if words and words[-1] in ("a", "an"):
        words[-1] = "an" if follows[0] in "aeiou" else "a"
        before = " ".join(words) + " "
    return before + word + after


def draw_cases(kind: Kind, count: int, judge: Judge, most: int = 20_000) -> CaseSet:
    """Return edits of a kind: of the first held-out scenes that have one and are judged rightly.

    Args:
        kind: what sort of edit.
        count: how many.
        judge: says whether it would know the thing, before and after.
        most: scenes to look at.

    Raises:
        ValueError: so many scenes hold fewer.
    """
    found: list[Case] = []
    misjudged = 0
    for number in range(most):
        seed = world.HELD_OUT + number
        proposal = _proposed(kind, seed)
        if proposal is None:
            continue
        if _rightly_judged(proposal, judge):
            found.append(proposal.case)
        else:
            misjudged += 1
        if len(found) == count:
            return CaseSet(tuple(found), number + 1, misjudged)
    raise ValueError(f"{most} scenes hold {len(found)} edits of kind {kind!r}, not {count}")


def case_of(kind: Kind, seed: int) -> Case:
    """Return the edit of a kind that a scene holds: the one that `draw_cases` finds there.

    Raises:
        ValueError: it holds none.
    """
    proposal = _proposed(kind, seed)
    if proposal is None:
        raise ValueError(f"scene {seed} holds no edit of kind {kind!r}")
    return proposal.case


def _proposed(kind: Kind, seed: int) -> _Proposal | None:
    return PROPOSED[kind](world.scene(seed), random.Random(seed * 5 + CHOICES[kind]))


def _rightly_judged(proposal: _Proposal, judge: Judge) -> bool:
    case, item = proposal.case, proposal.item
    before, after = judge(np.stack([case.image, proposal.truth]))
    return (
        _right(before, item.noun, item.colour, item.pose)
        and _right(after, case.noun, case.colour, case.pose)
        and iou(before.mask(item.noun), item.mask) >= OVERLAP
    )


def _right(verdict: Verdict, noun: str, colour: str, pose: str | None) -> bool:
    return verdict.sees(noun, colour) and (pose is None or verdict.pose[noun] == pose)


def _named(scene: world.Scene, rng: random.Random) -> list[tuple[int, world.Words]]:
    """Return (item, its words) of the things that are named and well seen, in random order."""
    named = [
        (index, words)
        for index, words in zip(scene.mentioned, scene.words, strict=True)
        if scene.items[index].mask.sum() >= VISIBLE
    ]
    return rng.sample(named, len(named))


def _recoloured(
    scene: world.Scene, rng: random.Random, *, silent: bool = False
) -> _Proposal | None:
    """Propose another colour of a thing whose colour is named; `silent` leaves it unsaid before."""
    for index, words in _named(scene, rng):
        if words.colour is None:
            continue
        said = re.findall(r"\w+", scene.caption)
        # A word that is there already would have two places in the target.
        colour = rng.choice([one for one in world.COLOURS if one not in said])
        source = reworded(scene.caption, words.colour, "") if silent else scene.caption
        target = reworded(scene.caption, words.colour, colour)
        return _proposal(scene, index, source, target, colour, colour=colour)
    return None


def _crowded(scene: world.Scene, rng: random.Random) -> _Proposal | None:
    """Propose another colour where there are many things."""
    return _recoloured(scene, rng) if len(scene.items) >= CROWD else None


def _posed(scene: world.Scene, rng: random.Random, *, silent: bool = False) -> _Proposal | None:
    """Propose another pose of an animal whose pose is named; `silent` leaves its colour unsaid."""
    for index, words in _named(scene, rng):
        if words.pose is None:
            continue
        said = re.findall(r"\w+", scene.caption)
        free = [one for one in world.POSES if one not in said]
        if not free:
            continue
        pose = rng.choice(free)
        unsaid = [(words.colour, "")] if silent and words.colour else []
        source = _changed(scene.caption, unsaid)
        target = _changed(scene.caption, [*unsaid, (words.pose, pose)])
        return _proposal(scene, index, source, target, pose, pose=pose)
    return None


def _changed(text: str, changes: Iterable[tuple[tuple[int, int], str]]) -> str:
    """Return a text with several words changed, as `reworded` does it, the last one first."""
    for span, word in sorted(changes, reverse=True):
        text = reworded(text, span, word)
    return text


def _laid_out(scene: world.Scene, rng: random.Random) -> _Proposal | None:
    """Propose the box of a thing that is named with its colour, where few things are."""
    for index, words in _named(scene, rng):
        if words.colour is not None and len(scene.mentioned) <= FEW:
            caption = scene.caption
            return _proposal(scene, index, caption, caption, scene.items[index].colour)
    return None


def _proposal(
    scene: world.Scene,
    index: int,
    source: str,
    target: str,
    word: str,
    *,
    colour: str | None = None,
    pose: str | None = None,
) -> _Proposal:
    item = scene.items[index]
    after = world.render(world.with_thing(scene.room, index, colour=colour, pose=pose))
    wanted = after.items[index]
    case = Case(
        seed=scene.room.seed,
        image=scene.image,
        source=source,
        target=target,
        noun=item.noun,
        word=word,
        colour=wanted.colour,
        pose=wanted.pose,
        pose_before=item.pose,
        mask=item.mask,
        changed=item.mask | wanted.mask,
        box=item.box,
    )
    return _Proposal(case, item, after.image)


PROPOSED: dict[Kind, Callable[[world.Scene, random.Random], _Proposal | None]] = {
    "colour": _recoloured,
    "refine": lambda scene, rng: _recoloured(scene, rng, silent=True),
    "pose": _posed,
    "silent_pose": lambda scene, rng: _posed(scene, rng, silent=True),
    "crowded": _crowded,
    "layout": _laid_out,
}
CHOICES: dict[Kind, int] = {
    "colour": 0, "refine": 1, "pose": 2, "silent_pose": 2, "crowded": 3, "layout": 4,
}  # fmt: skip
"""Of a scene's random choices: kinds that share a number edit the same thing in the same way."""
