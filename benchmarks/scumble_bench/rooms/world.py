"""The demo world: seeded pictures of rooms with captions and ground truth.

`scene(seed)` designs a room, draws it and writes a caption. The drawing is the ground truth:
every thing is a sprite, and its mask is where its sprite is the front-most one.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from PIL import Image

from scumble_bench.rooms import animals, furniture
from scumble_bench.rooms.backdrop import GLOW, Floats, backdrop, light_of
from scumble_bench.rooms.captions import Caption, Words, captions
from scumble_bench.rooms.drawing import Brush
from scumble_bench.rooms.layout import alternatives, design_room, with_thing
from scumble_bench.rooms.room import COLOURS, HELD_OUT, NOUNS, POSES, SIZE, Room, Thing

__all__ = [
    "COLOURS",
    "HELD_OUT",
    "NOUNS",
    "POSES",
    "SIZE",
    "Caption",
    "Item",
    "Room",
    "Scene",
    "Thing",
    "Words",
    "alternatives",
    "captions",
    "contact_sheet",
    "design_room",
    "reach",
    "render",
    "scene",
    "with_thing",
]

Box = tuple[int, int, int, int]
Bools = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
DRAWINGS = {**furniture.DRAWINGS, **animals.DRAWINGS}
PAPER = np.array([250, 247, 238], np.float32)


@dataclass(frozen=True, slots=True)
class Item:
    """Ground truth of one object.

    Attributes:
        box: left, top, right, bottom in px, half-open, of the visible mask.
        mask: visible pixels, (128, 128) bool.
    """

    noun: str
    colour: str
    pose: str | None
    box: Box
    mask: Bools


@dataclass(frozen=True, slots=True)
class Scene:
    """A drawn room.

    Attributes:
        image: (128, 128, 3) uint8.
        items: in the order of `room.things`.
        mentioned: indices into `items` that the caption names.
        mentioned_colour: for each of these, whether the caption names its colour.
        words: for each of these, where the caption names it.
    """

    room: Room
    image: Bytes
    items: tuple[Item, ...]
    caption: str
    mentioned: tuple[int, ...]
    mentioned_colour: tuple[bool, ...]
    words: tuple[Words, ...]


def _shadow(canvas: Floats, thing: Thing) -> None:
    """Darken the ground below a thing, softly; a picture darkens the wall below it."""
    if thing.noun == "carpet":
        return
    left, _, right, bottom = thing.extent
    across = (right - left) / 2 * (0.86 if thing.noun != "lamp" else 0.8)
    along, strength = 6.0 * thing.scale, 0.42
    x, y = (left + right) / 2, thing.y
    if thing.noun == "picture":
        x, y, strength = x + 2, bottom, 0.25
    elif thing.pose == "jumping":
        strength = 0.3
    x0, x1 = max(0, floor(x - across)), min(SIZE, ceil(x + across) + 1)
    y0, y1 = max(0, floor(y - along)), min(SIZE, ceil(y + along) + 1)
    u = (np.arange(x0, x1, dtype=np.float32) - x) / across
    v = (np.arange(y0, y1, dtype=np.float32) - y) / along
    far = np.minimum(u[None, :] ** 2 + v[:, None] ** 2, 1.0)
    canvas[y0:y1, x0:x1] *= (1 - strength * (1 - far) ** 1.5)[..., None]


def _lay(canvas: Floats, owner: np.ndarray, light: Floats, room: Room, index: int) -> None:
    """Draw one thing over the canvas and write its index where it is solid."""
    thing = room.things[index]
    brush = Brush(thing, room.details(index))
    DRAWINGS[thing.noun if thing.pose is None else f"{thing.noun} {thing.pose}"](brush)
    x0, y0 = max(0, brush.left), max(0, brush.top)
    x1, y1 = min(SIZE, brush.left + brush.width), min(SIZE, brush.top + brush.height)
    sprite = brush.sprite()[y0 - brush.top : y1 - brush.top, x0 - brush.left : x1 - brush.left]
    shine = light[y0:y1, x0:x1]
    if room.night:  # things keep more of their colour than walls do
        shine = 0.56 + 0.44 * shine
    alpha = sprite[..., 3:] * np.float32(1 / 255)
    under = canvas[y0:y1, x0:x1]
    under += (sprite[..., :3] * shine - under) * alpha
    owner[y0:y1, x0:x1][alpha[..., 0] >= 0.5] = index


def _sketched(canvas: Floats, owner: np.ndarray) -> Floats:
    """Pencil on paper: dark edges, hatching in the shade, a light wash of colour."""
    grey = canvas.mean(axis=2)
    edge = np.zeros_like(grey)
    edge[:-1] += np.abs(canvas[1:] - canvas[:-1]).max(axis=2)
    edge[:, :-1] += np.abs(canvas[:, 1:] - canvas[:, :-1]).max(axis=2)
    lines = np.clip(edge / 105 - 0.07, 0, 0.85)
    y, x = np.mgrid[:SIZE, :SIZE]
    hatch = ((x + y) % 4 < 1) * np.clip((150 - grey) / 330, 0, 0.3)
    wash = np.where(owner >= 0, 0.62, 0.14).astype(np.float32)[..., None]
    page = PAPER + (canvas - PAPER) * wash
    return page * (1 - np.maximum(lines, hatch))[..., None] + 18 * lines[..., None]


def _item(thing: Thing, mask: Bools) -> Item:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (0, 0, 0, 0)
    if rows.size:
        box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    return Item(thing.noun, thing.colour, thing.pose, box, mask)


def render(room: Room, *, caption_seed: int | None = None) -> Scene:
    """Draw a room; the same room always gives the same picture."""
    light = light_of(room)
    canvas = backdrop(room, light)
    owner = np.full((SIZE, SIZE), -1, np.int8)
    for index, thing in enumerate(room.things):
        _shadow(canvas, thing)
        _lay(canvas, owner, light, room, index)
    if room.style == "sketch":
        canvas = _sketched(canvas, owner)
    image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    items = tuple(_item(t, owner == i) for i, t in enumerate(room.things))
    seed = room.seed * 64 + 63 if caption_seed is None else caption_seed
    caption = captions(room, random.Random(seed), 1)[0]
    return Scene(
        room,
        image,
        items,
        caption.text,
        caption.mentioned,
        caption.mentioned_colour,
        caption.words,
    )


def scene(seed: int) -> Scene:
    """The picture, caption and ground truth of a seed; from `HELD_OUT` on never trained on."""
    return render(design_room(seed))


def reach(room: Room, index: int) -> Box:
    """The box outside of which thing `index` does not touch a pixel: shadow and light too."""
    thing = room.things[index]
    left, top, right, bottom = thing.extent
    box = [left - 4, top - 4, right + 4, max(bottom, thing.y + 7) + 4]
    if thing.noun == "lamp" and room.night:
        y = thing.y - 50 * thing.scale
        box = [
            min(box[0], thing.x - GLOW),
            min(box[1], y - GLOW),
            max(box[2], thing.x + GLOW),
            max(box[3], y + GLOW),
        ]
    return (
        max(0, floor(box[0])),
        max(0, floor(box[1])),
        min(SIZE, ceil(box[2])),
        min(SIZE, ceil(box[3])),
    )


def contact_sheet(seeds: Iterable[int], columns: int = 6) -> Image.Image:
    """Pictures of several seeds side by side, for the documentation."""
    pictures = [scene(seed).image for seed in seeds]
    rows = -(-len(pictures) // columns)
    pitch = SIZE + 4
    sheet = Image.new("RGB", (columns * pitch + 4, rows * pitch + 4), (255, 255, 255))
    for i, picture in enumerate(pictures):
        corner = (4 + i % columns * pitch, 4 + i // columns * pitch)
        sheet.paste(Image.fromarray(picture), corner)
    return sheet
