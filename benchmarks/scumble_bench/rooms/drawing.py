"""A brush for sprites: shapes in the object's own units, drawn large and reduced."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

import numpy as np
from PIL import Image, ImageDraw

from scumble_bench.rooms.room import COLOURS, Thing

SUPERSAMPLING = 4
RGB = tuple[int, int, int]
Point = tuple[float, float]


def mixed(colour: RGB, other: RGB, share: float) -> RGB:
    """Colour with a share of another one in it."""
    r, g, b = (round(c + (o - c) * share) for c, o in zip(colour, other, strict=True))
    return r, g, b


@dataclass(frozen=True, slots=True)
class Shades:
    """The paints of one object: its colour, and the shades of it that details use."""

    base: RGB
    dark: RGB
    light: RGB
    line: RGB
    feature: RGB

    @classmethod
    def of(cls, colour: str, rng: random.Random) -> "Shades":
        """Shades of a named colour with a little jitter."""
        shift = rng.uniform(-8, 8)
        r, g, b = (
            min(250, max(20, round(c + shift + rng.uniform(-7, 7)))) for c in COLOURS[colour]
        )
        base = (r, g, b)
        black, white = (14, 12, 20), (255, 255, 255)
        if colour == "black":
            light = mixed(base, white, 0.24)
            return cls(base, mixed(base, black, 0.5), light, (12, 11, 16), (205, 203, 190))
        depth = 0.2 if colour == "white" else 0.28
        return cls(
            base,
            mixed(base, black, depth),
            mixed(base, white, 0.32),
            mixed(base, black, 0.52),
            mixed(base, black, 0.86),
        )


def curve(points: Sequence[Point], steps: int) -> list[Point]:
    """Points along the Bezier curve with these control points."""
    found: list[Point] = []
    for step in range(steps):
        t = step / (steps - 1)
        row: list[Point] = list(points)
        while len(row) > 1:
            row = [(a + (c - a) * t, b + (d - b) * t) for (a, b), (c, d) in pairwise(row)]
        found.append(row[0])
    return found


class Brush:
    """Draws one thing, in units of its shape, y up from its foot, facing right.

    A silhouette is drawn twice, first wider in the line colour, so that it has an outline.
    """

    def __init__(self, thing: Thing, rng: random.Random) -> None:
        left, top, right, bottom = thing.extent
        self.left, self.top = floor(left) - 2, floor(top) - 2
        self.width, self.height = ceil(right) + 2 - self.left, ceil(bottom) + 2 - self.top
        self.thing, self.rng = thing, rng
        self.shades = Shades.of(thing.colour, rng)
        size = (self.width * SUPERSAMPLING, self.height * SUPERSAMPLING)
        self.image = Image.new("RGBA", size)
        self._draw = ImageDraw.Draw(self.image)
        self._unit = thing.scale * SUPERSAMPLING
        self._x = (thing.x - self.left) * SUPERSAMPLING
        self._y = (thing.y - self.top) * SUPERSAMPLING
        self._flip = thing.faces

    def _at(self, point: Point) -> Point:
        return self._x + point[0] * self._unit * self._flip, self._y - point[1] * self._unit

    def ellipse(self, centre: Point, rx: float, ry: float, fill: RGB, line: float = 0.0) -> None:
        """An ellipse, with an outline of some width outside of it."""
        x, y = self._at(centre)
        if line:
            a, b = (rx + line) * self._unit, (ry + line) * self._unit
            self._draw.ellipse((x - a, y - b, x + a, y + b), self.shades.line)
        a, b = rx * self._unit, ry * self._unit
        self._draw.ellipse((x - a, y - b, x + a, y + b), fill)

    def polygon(self, points: Sequence[Point], fill: RGB, line: float = 0.0) -> None:
        """A polygon, with an outline of some width around it."""
        corners = [self._at(p) for p in points]
        if line:
            width = round(2 * line * self._unit)
            ring = [*corners, corners[0], corners[1]]
            self._draw.line(ring, self.shades.line, width, joint="curve")
        self._draw.polygon(corners, fill)

    def box(
        self, low: Point, high: Point, fill: RGB, round_by: float = 0.0, line: float = 0.0
    ) -> None:
        """A rectangle between two corners, with rounded corners."""
        (x0, y0), (x1, y1) = self._at(low), self._at(high)
        x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
        if line:
            w = line * self._unit
            self._draw.rounded_rectangle(
                (x0 - w, y0 - w, x1 + w, y1 + w), round_by * self._unit + w, self.shades.line
            )
        self._draw.rounded_rectangle((x0, y0, x1, y1), round_by * self._unit, fill)

    def stroke(self, points: Sequence[Point], width: float, fill: RGB) -> None:
        """A thin line."""
        self._draw.line(
            [self._at(p) for p in points], fill, max(1, round(width * self._unit)), joint="curve"
        )

    def tubes(
        self, parts: Sequence[tuple[Sequence[Point], float, float]], fill: RGB, line: float = 0.8
    ) -> None:
        """Limbs: each a curve, its radius at the start and at the end; one common outline."""
        discs: list[tuple[float, float, float]] = []
        for points, start, end in parts:
            length = sum(abs(b[0] - a[0]) + abs(b[1] - a[1]) for a, b in pairwise(points))
            steps = max(4, min(26, round(length / min(start, end) * 1.6)))
            for i, point in enumerate(curve(points, steps)):
                x, y = self._at(point)
                discs.append((x, y, start + (end - start) * i / (steps - 1)))
        for grow, paint in ((line, self.shades.line), (0.0, fill)):
            for x, y, radius in discs:
                r = (radius + grow) * self._unit
                self._draw.ellipse((x - r, y - r, x + r, y + r), paint)

    def sprite(self) -> np.ndarray:
        """The drawing at its true size, lit from above: (height, width, 4) float32."""
        pixels = np.asarray(self.image.reduce(SUPERSAMPLING), np.float32).copy()
        ramp = np.linspace(1.05, 0.9, self.height, dtype=np.float32)
        pixels[..., :3] *= ramp[:, None, None]
        return pixels
