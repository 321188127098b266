"""Captions of a room: a few small words, true of the picture, with the place of each name."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scumble_bench.rooms.room import ANIMALS, Room, Thing

MOST_WORDS = 26
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Words:
    """Where a caption names one object: character offsets (start, end), half-open."""

    noun: Span
    colour: Span | None
    pose: Span | None


@dataclass(frozen=True, slots=True)
class Caption:
    """A sentence about a room.

    Attributes:
        mentioned: indices of the things that the text names, in the order of the text.
        mentioned_colour: for each of these, whether its colour is named.
        words: for each of these, the words that name it.
    """

    text: str
    mentioned: tuple[int, ...]
    mentioned_colour: tuple[bool, ...]
    words: tuple[Words, ...]


class _Writer:
    """Grows a text and remembers where it names what."""

    def __init__(self, room: Room, rng: random.Random) -> None:
        self.room, self.rng = room, rng
        self.text = ""
        self.named: list[tuple[int, Words]] = []

    def say(self, words: str) -> None:
        self.text += f" {words}" if self.text and not words.startswith(",") else words

    def _word(self, word: str) -> Span:
        self.say(word)
        return len(self.text) - len(word), len(self.text)

    def name(self, index: int, *, posed: bool = False) -> None:
        """Say "a red sofa", "a sitting cat"; with `posed`, "a cat sitting"."""
        thing, rng = self.room.things[index], self.rng
        colour_word = thing.colour if rng.random() < 0.85 else None
        pose_word = thing.pose if posed or rng.random() < 0.4 else None
        adjectives = [w for w in (colour_word,) if w]
        if pose_word and not posed:
            adjectives.insert(0 if rng.random() < 0.7 else len(adjectives), pose_word)
        first = adjectives[0] if adjectives else thing.noun
        self.say("an" if first[0] in "aeiou" else "a")
        spans = {word: self._word(word) for word in adjectives}
        noun = self._word(thing.noun)
        if pose_word and posed:
            spans[pose_word] = self._word(pose_word)
        words = Words(noun, spans.get(colour_word or ""), spans.get(pose_word or ""))
        self.named.append((index, words))

    def caption(self) -> Caption:
        return Caption(
            self.text,
            tuple(i for i, _ in self.named),
            tuple(w.colour is not None for _, w in self.named),
            tuple(w for _, w in self.named),
        )


def _stands_on_floor(room: Room, thing: Thing) -> bool:
    below = None if thing.on is None else room.things[thing.on].noun
    return thing.noun not in ("carpet", "picture") and below in (None, "carpet")


def relations(room: Room, a: int, b: int) -> tuple[str, ...]:
    """Prepositions that are true of thing a and thing b, in this order."""
    one, two = room.things[a], room.things[b]
    if one.on == b:
        return ("on",)
    found: list[str] = []
    if one.noun == "picture" and two.noun in ("sofa", "table") and abs(one.x - two.x) < 20:
        found.append("above")
    if two.noun == "picture" and one.noun in ("sofa", "table") and abs(one.x - two.x) < 20:
        found.append("under")
    if not (_stands_on_floor(room, one) and _stands_on_floor(room, two)):
        return tuple(found)
    (left, _, right, _), (left2, _, right2, _) = one.extent, two.extent
    gap = max(left, left2) - min(right, right2)
    if abs(one.y - two.y) < 14 and -10 < gap < 14 and abs(one.x - two.x) > 22:
        found += ["next to", "beside", "near"]
    if "jumping" not in (one.pose, two.pose):
        if two.noun in ("sofa", "table") and one.y - two.y > 5 and left2 < one.x < right2:
            found.append("in front of")
        if one.noun in ("sofa", "table") and two.y - one.y > 5 and left < two.x < right:
            found.append("behind")
    return tuple(found)


def _units(room: Room, chosen: Sequence[int], rng: random.Random) -> list[tuple[int, ...]]:
    """Join some of the chosen things to pairs that a true relation binds."""
    left, units = list(chosen), list[tuple[int, ...]]()
    while left:
        a = left.pop(0)
        below = room.things[a].on
        partners = [b for b in left if relations(room, a, b)]
        if below in left and rng.random() < 0.75:
            partners = [below]
        if partners and rng.random() < 0.7:
            b = rng.choice(partners)
            left.remove(b)
            units.append((a, b))
        else:
            units.append((a,))
    return units


def _say_unit(writer: _Writer, unit: tuple[int, ...]) -> None:
    thing = writer.room.things[unit[0]]
    related = len(unit) == 2
    writer.name(unit[0], posed=thing.noun in ANIMALS and related and writer.rng.random() < 0.6)
    if related:
        writer.say(writer.rng.choice(relations(writer.room, *unit)))
        writer.name(unit[1])


def _room_words(room: Room, rng: random.Random) -> str:
    if room.night and rng.random() < 0.15:
        return "a dark room"
    if not room.night and rng.random() < 0.08:
        return "a bright room"
    return "a room"


def _list(parts: int, index: int) -> str:
    return "" if index == 0 else ("and" if index == parts - 1 else ",")


def _say_room(writer: _Writer, units: Sequence[tuple[int, ...]]) -> None:
    room, rng = writer.room, writer.rng
    writer.say(_room_words(room, rng))
    writer.say("with")
    parts: list[str | tuple[int, ...]] = [*units]
    if rng.random() < 0.22:
        parts.insert(0, f"a {room.wall} wall")
    if rng.random() < 0.12:
        parts.insert(0, f"a {room.floor} floor")
    if room.window is not None and rng.random() < 0.25:
        parts.insert(rng.randrange(len(parts) + 1), "a window")
    for i, part in enumerate(parts):
        if joint := _list(len(parts), i):
            writer.say(joint)
        if isinstance(part, str):
            writer.say(part)
        else:
            _say_unit(writer, part)


def _say_things(writer: _Writer, units: Sequence[tuple[int, ...]]) -> None:
    room, rng = writer.room, writer.rng
    for i, unit in enumerate(units):
        if joint := _list(len(units), i):
            writer.say(joint)
        _say_unit(writer, unit)
    thing = room.things[units[-1][0]]
    alone = len(units) == 1 and len(units[0]) == 1
    if rng.random() < 0.3:
        writer.say(f"in {_room_words(room, rng)}")
        if rng.random() < 0.35:
            writer.say(f"with a {room.wall} wall")
    elif alone and rng.random() < 0.3 and thing.pose != "jumping":
        if thing.noun == "picture":
            writer.say(f"on a {room.wall} wall")
        elif thing.on is None:
            writer.say(f"on a {room.floor} floor")


def _write(room: Room, rng: random.Random, most: int = 5) -> Caption:
    count = len(room.things)
    mentions = count if rng.random() < 0.5 else rng.randint(1, count)
    if rng.random() < 0.08:
        mentions = 1
    chosen = rng.sample(range(count), min(mentions, most))
    units = _units(room, chosen, rng)
    writer = _Writer(room, rng)
    if room.style == "sketch" and rng.random() < 0.92:
        writer.say(rng.choice(("a sketch of", "a sketch of", "a pencil sketch of", "a drawing of")))
    elif room.style == "painted" and rng.random() < 0.05:
        writer.say("a painting of")
    of_room = len(chosen) > 2 or rng.random() < 0.5
    (_say_room if of_room else _say_things)(writer, units)
    if room.night and " dark " not in writer.text and rng.random() < 0.85:
        writer.say("at night")
    elif not room.night and " bright " not in writer.text and rng.random() < 0.04:
        writer.say("by day")
    if len(writer.text.split()) > MOST_WORDS:
        return _write(room, rng, max(1, len(chosen) - 1))
    return writer.caption()


def captions(room: Room, rng: random.Random | np.random.Generator, n: int) -> list[Caption]:
    """Up to `n` different captions of one room, each at most 26 words long."""
    own = rng if isinstance(rng, random.Random) else random.Random(int(rng.integers(2**62)))
    found: dict[str, Caption] = {}
    for _ in range(8 * n):
        caption = _write(room, own)
        found.setdefault(caption.text, caption)
        if len(found) >= n:
            break
    return list(found.values())
