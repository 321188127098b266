"""Which things a seed puts into a room, and where; and the same room with one thing changed."""

import random
from dataclasses import replace
from typing import Literal

import numpy as np

from scumble_bench.rooms.backdrop import WINDOW, WINDOW_TOP
from scumble_bench.rooms.room import (
    ANIMALS,
    COLOURS,
    FLOORS,
    NOUNS,
    POSES,
    SIZE,
    SURFACES,
    WALLS,
    Room,
    Thing,
)

CELL = 4
LIKELIHOOD = {
    "sofa": 1.3,
    "table": 1.0,
    "lamp": 1.1,
    "carpet": 1.2,
    "picture": 1.0,
    "vase": 1.0,
    "ball": 1.0,
    "cat": 1.6,
    "dog": 1.6,
}
# Share of a thing that must stay visible.
VISIBLE = {"sofa": 0.46, "table": 0.5, "carpet": 0.42, "cat": 0.76, "dog": 0.76}
# What part of a thing's extent, from its top, must be visible and covers others.
KEY_PART = {"lamp": 0.36, "table": 0.5}


def _cells(box: tuple[float, float, float, float]) -> tuple[slice, slice]:
    left, top, right, bottom = (max(0, round(v / CELL)) for v in box)
    return slice(top, max(top + 1, bottom)), slice(left, max(left + 1, right))


def _key_box(thing: Thing) -> tuple[float, float, float, float]:
    left, top, right, bottom = thing.extent
    inset = 2.5 * thing.scale
    bottom = top + (bottom - top) * KEY_PART.get(thing.noun, 1.0)
    return left + inset, top + inset, right - inset, bottom - inset


def _face_box(thing: Thing) -> tuple[float, float, float, float]:
    left, top, right, _ = thing.extent
    size = 24 * thing.scale
    left = right - size if thing.faces > 0 else left
    return left, top, left + size, top + size


def _all_visible(things: list[Thing]) -> bool:
    covered = np.zeros((SIZE // CELL, SIZE // CELL), bool)
    for thing in reversed(things):
        area = covered[_cells(_key_box(thing))]
        if area.size == 0 or 1 - float(area.mean()) < VISIBLE.get(thing.noun, 0.66):
            return False
        if thing.noun in ANIMALS and float(covered[_cells(_face_box(thing))].mean()) > 0.14:
            return False
        area[:] = True
    return True


def _depth(thing: Thing, things: list[Thing]) -> tuple[int, float, int]:
    """Sort key, back to front."""
    if thing.noun in ("carpet", "picture"):
        return 0, thing.y, 0
    if thing.on is not None and things[thing.on].noun != "carpet":
        return 1, things[thing.on].y, 1
    return 1, thing.y, 0


def _sorted(things: list[Thing]) -> list[Thing]:
    order = sorted(range(len(things)), key=lambda i: _depth(things[i], things))
    return [
        t if t.on is None else replace(t, on=order.index(t.on)) for t in (things[i] for i in order)
    ]


def _scale(y: float, horizon: int, rng: random.Random) -> float:
    return (0.88 + 0.24 * (y - horizon) / (SIZE - horizon)) * rng.uniform(0.95, 1.06)


def _on_carpet(thing: Thing, things: list[Thing]) -> int | None:
    for i, other in enumerate(things):
        if other.noun == "carpet" and thing.pose != "jumping":
            dx = (thing.x - other.x) / (46 * other.scale)
            dy = (thing.y - 2 - other.y) / (14 * other.scale)
            if dx * dx + dy * dy < 0.75:
                return i
    return None


def _placed(
    noun: str, colour: str, things: list[Thing], horizon: int, rng: random.Random
) -> Thing | None:
    """One try to place a thing, None if it came to lie outside."""
    pose = rng.choice(POSES) if noun in ANIMALS else None
    faces: Literal[1, -1] = 1 if rng.random() < 0.5 else -1
    if noun == "picture":
        y = rng.uniform(20, max(24, horizon - 40))
        return Thing(noun, colour, None, rng.uniform(20, 108), y, rng.uniform(0.88, 1.1))
    if noun == "carpet":
        y = rng.uniform(horizon + 22, 112)
        return Thing(noun, colour, None, rng.uniform(46, 82), y, rng.uniform(0.85, 1.05))
    hosts = [
        i
        for i, t in enumerate(things)
        if (t.noun == "sofa" and noun in ("cat", "dog", "ball"))
        or (t.noun == "table" and noun in ("vase", "cat", "ball"))
    ]
    hosts = [i for i in hosts if not any(t.on == i for t in things)]
    if hosts and pose != "jumping" and rng.random() < 0.42:
        host = rng.choice(hosts)
        base = things[host]
        scale = rng.uniform(0.76, 0.9) * (0.94 if noun == "ball" else 1)
        x = base.x + rng.uniform(-9, 9) * base.scale
        y = base.y - SURFACES[base.noun] * base.scale
        thing = Thing(noun, colour, pose, x, y, scale, faces, host)
    else:
        low = {"sofa": horizon + 7, "table": horizon + 8, "lamp": horizon + 4}.get(
            noun, horizon + 10
        )
        high = {"sofa": horizon + 18, "table": 118, "lamp": horizon + 20}.get(noun, 124)
        y = rng.uniform(low, high)
        thing = Thing(noun, colour, pose, rng.uniform(16, 112), y, _scale(y, horizon, rng), faces)
        thing = replace(thing, on=_on_carpet(thing, things))
    left, top, right, _ = thing.extent
    return thing if left >= 0 and right <= SIZE and top >= 1 else None


def _fits(thing: Thing, things: list[Thing]) -> bool:
    """Whether big furniture stands free of other big furniture."""
    solid = ("sofa", "table", "lamp")
    for other in things:
        if thing.noun in solid and other.noun in solid and abs(thing.y - other.y) < 12:
            (left, _, right, _), (left2, _, right2, _) = thing.extent, other.extent
            if min(right, right2) - max(left, left2) > 5:
                return False
    return True


def _window(things: list[Thing], rng: random.Random) -> int | None:
    if rng.random() > 0.55:
        return None
    left = rng.randint(6, SIZE - WINDOW[0] - 6)
    width, height = WINDOW
    hidden = np.zeros((SIZE // CELL, SIZE // CELL), bool)
    for thing in things:
        x0, y0, x1, y1 = thing.extent
        if thing.noun == "picture" and x1 + 3 > left and x0 - 3 < left + width:
            return None
        hidden[_cells((x0, y0, x1, y1))] = True
    box = (left, WINDOW_TOP, left + width, WINDOW_TOP + height)
    return left if float(hidden[_cells(box)].mean()) < 0.4 else None


def design_room(seed: int) -> Room:
    """The room of a seed: one to five things, every noun at most once."""
    rng = random.Random(seed)
    style = "sketch" if rng.random() < 0.08 else "painted"
    night = style == "painted" and rng.random() < 0.16
    horizon = rng.randint(68, 82)
    wall, floor = rng.choice(tuple(WALLS)), rng.choice(tuple(FLOORS))
    count = rng.choices((1, 2, 3, 4, 5), (16, 25, 28, 20, 11))[0]
    drawn = sorted(NOUNS, key=lambda noun: rng.random() ** (1 / LIKELIHOOD[noun]), reverse=True)
    chosen = sorted(drawn[:count], key=NOUNS.index)
    if "carpet" in chosen:
        chosen.insert(0, chosen.pop(chosen.index("carpet")))
    things: list[Thing] = []
    for noun in chosen:
        colour = rng.choice(tuple(COLOURS))
        for _ in range(16):
            thing = _placed(noun, colour, things, horizon, rng)
            if thing and _fits(thing, things) and _all_visible(_sorted([*things, thing])):
                things.append(thing)
                break
    if not things:
        things = [Thing("ball", rng.choice(tuple(COLOURS)), None, 64, 112, 1.0)]
    window = _window(things, rng)
    return Room(seed, wall, floor, night, style, horizon, window, tuple(_sorted(things)))


def alternatives(room: Room, index: int) -> tuple[str, ...]:
    """Nouns that thing `index` can become: not in the room yet, at home in the same place."""
    thing = room.things[index]
    if thing.noun in ("carpet", "picture") or any(t.on == index for t in room.things):
        return ()
    host = None if thing.on is None else room.things[thing.on].noun
    at_home = {"sofa": ("cat", "dog", "ball"), "table": ("vase", "cat", "ball")}.get(
        host or "", tuple(n for n in NOUNS if n not in ("carpet", "picture"))
    )
    present = {t.noun for t in room.things}
    return tuple(noun for noun in at_home if noun not in present)


def with_thing(
    room: Room,
    index: int,
    *,
    noun: str | None = None,
    colour: str | None = None,
    pose: str | None = None,
) -> Room:
    """The same room with one thing changed: the true result of an edit.

    Outside of that thing and of its shadow (and of the light of a lamp at night) it is drawn
    with the same pixels. A new animal without a `pose` keeps the old one's, or sits.
    """
    old = room.things[index]
    kind = noun or old.noun
    if kind != old.noun and kind not in alternatives(room, index):
        possible = ", ".join(alternatives(room, index)) or "nothing else"
        raise ValueError(f"the {old.noun} cannot become a {kind}; here it can be: {possible}")
    if kind in ANIMALS:
        pose = pose or old.pose or "sitting"
    elif pose is not None:
        raise ValueError(f"a {kind} has no pose; got {pose!r}")
    new = Thing(kind, colour or old.colour, pose, old.x, old.y, old.scale, old.faces, old.on)
    things = (*room.things[:index], new, *room.things[index + 1 :])
    return replace(room, things=things)
