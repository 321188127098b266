"""The edits of the made set: rooms before and after, in the ten types of PIE-Bench.

What a type means here:

| type | here |
|---|---|
| random | an animal's colour and pose at once |
| object | another thing in the same place |
| add, delete | the front-most thing |
| content | a window, or the wall alone |
| pose, colour | of a thing |
| material | of the floor |
| background | the colour of the wall |
| style | painted or drawn |

The mask is true: the pixels in which the room drawn before differs from the room drawn after, and
those in which the thing is seen. A change of style is one of the whole picture.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scumble_bench.evaluation.entries import KINDS, Bytes
from scumble_bench.evaluation.run_lengths import Bools
from scumble_bench.rooms import world
from scumble_bench.rooms.room import ANIMALS, FLOORS, WALLS

__all__ = ["MadeEdit", "made_edits"]

VISIBLE = 300
"""Fewest pixels that are seen of every thing: about five cells of the latent."""
MOST = 3
"""Things in a room, so that the prompt can name them all."""
STYLE = "9"


@dataclass(frozen=True, slots=True)
class MadeEdit:
    """A room, and what it is to become.

    Attributes:
        kind: id of the type.
        seed: of the room.
        before: the drawing that is edited, (128, 128, 3) uint8.
        after: the true result, likewise.
        mask: (128, 128) bool; outside of it both are the same.
        source: prompt, the words that differ in brackets.
        target: likewise.
        words: the thing before and after with a blank between, or nothing.
    """

    kind: str
    seed: int
    before: Bytes
    after: Bytes
    mask: Bools
    source: str
    target: str
    words: str


@dataclass(frozen=True, slots=True)
class _Change:
    before: world.Room
    after: world.Room
    source: str
    target: str
    words: str = ""


def made_edits(each: int = 2, most: int = 5_000) -> list[MadeEdit]:
    """Return edits of every type, of held-out rooms, no room twice; always the same.

    Args:
        each: how many of a type.
        most: rooms to look at, for each type.

    Raises:
        ValueError: so many rooms hold fewer.
    """
    used: set[int] = set()
    found: list[MadeEdit] = []
    for kind in KINDS:
        mine: list[MadeEdit] = []
        for seed in range(world.HELD_OUT, world.HELD_OUT + most):
            if len(mine) == each:
                break
            made = None if seed in used else _made(kind, seed)
            if made is not None:
                used.add(seed)
                mine.append(made)
        if len(mine) < each:
            raise ValueError(f"{most} rooms hold {len(mine)} edits of type {KINDS[kind]!r}")
        found += mine
    return found


def _made(kind: str, seed: int) -> MadeEdit | None:
    room = world.design_room(seed)
    if room.night or len(room.things) > MOST or (room.style == "sketch" and kind != STYLE):
        return None
    change = CHANGES[kind](room, random.Random(seed))
    if change is None:
        return None
    before, after = world.render(change.before), world.render(change.after)
    for scene in (before, after):
        if any(item.mask.sum() < VISIBLE for item in scene.items):
            return None
    mask = (before.image != after.image).any(axis=2)
    if kind == STYLE:
        mask = np.ones_like(mask)
    for one, other in zip(before.items, after.items, strict=False):
        if (one.noun, one.colour, one.pose) != (other.noun, other.colour, other.pose):
            mask |= one.mask | other.mask
    return MadeEdit(
        kind, seed, before.image, after.image, mask, change.source, change.target, change.words
    )


def _phrase(*words: str, marked: Sequence[str] = ()) -> str:
    """Return words after their article, those that differ in brackets: "an [orange] sofa"."""
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join([article, *(f"[{word}]" if word in marked else word for word in words)])


def _thing(thing: world.Thing, *marked: str) -> str:
    """Return "a red sofa", "a sitting black cat"."""
    words = (thing.pose, thing.colour, thing.noun)
    return _phrase(*(word for word in words if word), marked=marked)


def _said(parts: Sequence[str], style: str = "") -> str:
    """Return "a room with a red sofa, a white cat and a blue ball"."""
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{style}a room with {listed}"


def _names(room: world.Room) -> list[str]:
    return [_thing(thing) for thing in room.things]


def _with_thing(room: world.Room, index: int, after: world.Room, *said: str) -> _Change:
    """Return a change of one thing; `said` are the words of it that are in brackets."""
    old, new = room.things[index], after.things[index]
    source, target = _names(room), _names(after)
    source[index], target[index] = _thing(old, *said), _thing(new, *said)
    return _Change(room, after, _said(source), _said(target), f"{old.noun} {new.noun}")


def _coloured(room: world.Room, index: int, rng: random.Random) -> str:
    """Return a colour that nothing in the room has."""
    taken = {thing.colour for thing in room.things}
    return rng.choice([colour for colour in world.COLOURS if colour not in taken])


def _another_pose(room: world.Room, index: int, rng: random.Random) -> str:
    taken = {thing.pose for thing in room.things}
    return rng.choice([pose for pose in world.POSES if pose not in taken])


def _animal(room: world.Room) -> int | None:
    places = [index for index, thing in enumerate(room.things) if thing.noun in ANIMALS]
    return places[0] if places else None


def _random(room: world.Room, rng: random.Random) -> _Change | None:
    index = _animal(room)
    if index is None:
        return None
    colour, pose = _coloured(room, index, rng), _another_pose(room, index, rng)
    old = room.things[index]
    after = world.with_thing(room, index, colour=colour, pose=pose)
    return _with_thing(room, index, after, colour, pose, old.colour, str(old.pose))


def _object(room: world.Room, rng: random.Random) -> _Change | None:
    for index, thing in enumerate(room.things):
        others = world.alternatives(room, index)
        if others:
            noun = rng.choice(others)
            after = world.with_thing(room, index, noun=noun)
            new = after.things[index]
            poses = (pose for pose in (thing.pose, new.pose) if pose and thing.pose != new.pose)
            return _with_thing(room, index, after, thing.noun, noun, *poses)
    return None


def _added(room: world.Room, rng: random.Random) -> _Change | None:
    if len(room.things) < 2:
        return None
    # The last one is in front and nothing is on it: all others are drawn as they were.
    without = replace(room, things=room.things[:-1])
    names = _names(room)
    return _Change(without, room, _said(names[:-1]), _said([*names[:-1], f"[{names[-1]}]"]))


def _deleted(room: world.Room, rng: random.Random) -> _Change | None:
    added = _added(room, rng)
    if added is None:
        return None
    return _Change(added.after, added.before, added.target, added.source)


def _content(room: world.Room, rng: random.Random) -> _Change | None:
    if room.window is None:
        return None
    names = _names(room)
    plain = replace(room, window=None)
    wall = _phrase(room.wall, "wall", marked=(room.wall, "wall"))
    return _Change(room, plain, _said(["a [window]", *names]), _said([wall, *names]))


def _pose(room: world.Room, rng: random.Random) -> _Change | None:
    index = _animal(room)
    if index is None:
        return None
    pose = _another_pose(room, index, rng)
    after = world.with_thing(room, index, pose=pose)
    return _with_thing(room, index, after, pose, str(room.things[index].pose))


def _colour(room: world.Room, rng: random.Random) -> _Change | None:
    index = rng.randrange(len(room.things))
    colour = _coloured(room, index, rng)
    after = world.with_thing(room, index, colour=colour)
    return _with_thing(room, index, after, colour, room.things[index].colour)


def _surface(room: world.Room, after: world.Room, what: str, old: str, new: str) -> _Change:
    names = _names(room)
    before, then = (_phrase(word, what, marked=(word,)) for word in (old, new))
    words = f"{what} {what}"
    return _Change(room, after, _said([before, *names]), _said([then, *names]), words)


def _material(room: world.Room, rng: random.Random) -> _Change | None:
    if room.floor not in MATERIALS:
        return None
    floor = rng.choice([one for one in MATERIALS if one != room.floor])
    return _surface(room, replace(room, floor=floor), "floor", room.floor, floor)


def _background(room: world.Room, rng: random.Random) -> _Change | None:
    taken = {thing.colour for thing in room.things}
    wall = rng.choice([one for one in WALLS if one != room.wall and one not in taken])
    return _surface(room, replace(room, wall=wall), "wall", room.wall, wall)


def _style(room: world.Room, rng: random.Random) -> _Change | None:
    drawn = replace(room, style="sketch")
    painted = replace(room, style="painted")
    words = _said(_names(room), "[a sketch of] "), _said(_names(room))
    if room.style == "sketch":
        return _Change(drawn, painted, *words)
    return _Change(painted, drawn, *words[::-1])


MATERIALS = [floor for floor in FLOORS if floor != "grey"]
CHANGES: dict[str, Callable[[world.Room, random.Random], _Change | None]] = {
    "0": _random,
    "1": _object,
    "2": _added,
    "3": _deleted,
    "4": _content,
    "5": _pose,
    "6": _colour,
    "7": _material,
    "8": _background,
    STYLE: _style,
}
