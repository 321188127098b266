"""What a room of the demo world is before it is drawn: its words, its colours, its things."""

import random
from dataclasses import dataclass
from typing import Literal

SIZE = 128
HELD_OUT = 1_000_000_000

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (206, 40, 42),
    "orange": (242, 130, 24),
    "yellow": (246, 212, 52),
    "green": (52, 148, 66),
    "blue": (42, 92, 206),
    "purple": (124, 58, 168),
    "pink": (246, 138, 184),
    "brown": (112, 68, 36),
    "black": (40, 38, 44),
    "white": (244, 243, 240),
}
WALLS: dict[str, tuple[int, int, int]] = {
    "grey": (176, 178, 184),
    "cream": (228, 216, 190),
    "blue": (158, 182, 204),
    "green": (170, 190, 164),
    "pink": (216, 188, 188),
    "yellow": (226, 208, 150),
}
FLOORS: dict[str, tuple[int, int, int]] = {
    "wooden": (190, 156, 118),
    "grey": (148, 148, 152),
    "tiled": (198, 190, 176),
}
NOUNS = ("sofa", "table", "lamp", "carpet", "picture", "vase", "ball", "cat", "dog")
ANIMALS = ("cat", "dog")
POSES = ("sitting", "standing", "jumping", "lying")

# left, right, bottom, top of each shape around its foot, at scale 1, facing right (y up).
EXTENTS: dict[str, tuple[float, float, float, float]] = {
    "sofa": (-32, 32, -1, 39),
    "table": (-28, 28, -1, 33),
    "lamp": (-15, 15, -2, 64),
    "carpet": (-51, 51, -16, 16),
    "picture": (-19, 19, -15, 17),
    "vase": (-13, 13, -2, 34),
    "ball": (-14, 14, -1, 27),
    "cat sitting": (-26, 19, -1, 49),
    "cat standing": (-32, 29, -1, 47),
    "cat jumping": (-35, 30, 3, 56),
    "cat lying": (-34, 28, -1, 29),
    "dog sitting": (-24, 27, -1, 50),
    "dog standing": (-32, 36, -1, 48),
    "dog jumping": (-33, 37, 3, 57),
    "dog lying": (-33, 32, -1, 35),
}

# Height of the surface that others stand on, at scale 1.
SURFACES = {"sofa": 13.0, "table": 25.0, "carpet": 0.0}


@dataclass(frozen=True, slots=True)
class Thing:
    """An object as specified, before rendering.

    Attributes:
        x: where its foot (for a picture and a carpet: its middle) is, px from the left.
        y: the same, px from the top.
        scale: 1 is the size in `EXTENTS`.
        faces: 1 looks right, -1 left.
        on: index of the thing it is on, None for floor and wall.
    """

    noun: str
    colour: str
    pose: str | None
    x: float
    y: float
    scale: float
    faces: Literal[1, -1] = 1
    on: int | None = None

    def __post_init__(self) -> None:
        if self.noun not in NOUNS:
            raise ValueError(f"no noun {self.noun!r} in this world; it has {', '.join(NOUNS)}")
        if self.colour not in COLOURS:
            raise ValueError(f"no colour {self.colour!r}; there are {', '.join(COLOURS)}")
        if self.noun in ANIMALS and self.pose not in POSES:
            raise ValueError(f"a {self.noun} needs a pose of {', '.join(POSES)}; got {self.pose!r}")
        if self.noun not in ANIMALS and self.pose is not None:
            raise ValueError(f"a {self.noun} has no pose; got {self.pose!r}")

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of all that its drawing may touch, in px."""
        key = self.noun if self.pose is None else f"{self.noun} {self.pose}"
        left, right, bottom, top = EXTENTS[key]
        if self.faces < 0:
            left, right = -right, -left
        s = self.scale
        return self.x + left * s, self.y - top * s, self.x + right * s, self.y - bottom * s


@dataclass(frozen=True, slots=True)
class Room:
    """A scene as specified, before rendering.

    Attributes:
        seed: every random detail of drawing comes from it and from a thing's index.
        horizon: row where wall and floor meet, px from the top.
        window: left edge of the window in px, None for a room without one.
        things: back to front.
    """

    seed: int
    wall: str
    floor: str
    night: bool
    style: Literal["painted", "sketch"]
    horizon: int
    window: int | None
    things: tuple[Thing, ...]

    def details(self, index: int) -> random.Random:
        """A stream of random details for one thing, or for the room itself at -1.

        No two things share a stream, so that changing one leaves the others as they are.
        """
        return random.Random(self.seed * 64 + index + 1)
