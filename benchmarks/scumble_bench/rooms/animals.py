"""Drawings of cats and dogs, in four poses.

A cat shows its round face with pointed ears and whiskers, and has a long thin tail; a dog is
seen from the side with a snout and a hanging ear, has a thick body and a short tail.
"""

from collections.abc import Callable

from scumble_bench.rooms.drawing import Brush, Point

Tube = tuple[list[Point], float, float]


def _cat_head(brush: Brush, x: float, y: float) -> None:
    s = brush.shades
    for side in (-1, 1):
        brush.polygon(
            [(x + side * 8.6, y + 1), (x + side * 8.4, y + 13.5), (x + side * 1.2, y + 7)],
            s.base,
            0.8,
        )
        brush.polygon(
            [(x + side * 7.4, y + 4), (x + side * 7.3, y + 10.6), (x + side * 3, y + 6.5)], s.dark
        )
    brush.ellipse((x, y), 9.6, 8.4, s.base, 0.8)
    for side in (-1, 1):
        brush.polygon(
            [
                (x + side * 7.6, y + 4),
                (x + side * 2, y + 4),
                (x + side * 2, y + 7.4),
                (x + side * 5, y + 7),
            ],
            s.base,
        )
        brush.ellipse((x + side * 4, y + 1), 1.5, 1.9, s.feature)
        for slope in (-1.2, 0.8):
            brush.stroke(
                [(x + side * 4, y - 2.8), (x + side * 11.8, y - 2.6 + slope * 1.5)], 0.5, s.feature
            )
    brush.ellipse((x, y - 3.4), 4, 2.9, s.light)
    brush.polygon([(x - 1.4, y - 1.6), (x + 1.4, y - 1.6), (x, y - 3.4)], s.feature)


def _dog_head(brush: Brush, x: float, y: float) -> None:
    s = brush.shades
    brush.tubes(
        [([(x, y), (x + 1, y)], 8.0, 8.0), ([(x + 3, y - 2), (x + 13, y - 3.4)], 5.0, 4.0)], s.base
    )
    brush.tubes([([(x + 8, y - 5), (x + 12.5, y - 4.8)], 1.6, 1.4)], s.light, 0.0)
    brush.stroke([(x + 6, y - 4.4), (x + 15.5, y - 5)], 0.7, s.feature)
    brush.ellipse((x + 15.4, y - 0.8), 2.4, 2.0, (20, 18, 22))
    brush.ellipse((x + 4.2, y + 2.4), 1.5, 1.7, s.feature)
    ear = s.light if brush.thing.colour == "black" else s.dark
    brush.tubes([([(x - 2, y + 5), (x - 8, y + 3), (x - 7, y - 7.5)], 3.0, 4.0)], ear)


def _cat_sitting(brush: Brush) -> None:
    s = brush.shades
    curl = brush.rng.uniform(12, 22)
    brush.tubes([([(-8, 4), (-24, -1), (-26, curl), (-18, curl + 5)], 2.4, 1.8)], s.base)
    brush.tubes([([(-4, 10.5), (3, 24)], 10.5, 7.5)], s.base)
    brush.tubes([([(8.5, 14), (9.5, 2.4)], 2.6, 2.4)], s.dark)
    brush.tubes([([(4, 17), (4.5, 2.4)], 3.0, 2.6)], s.base)
    brush.tubes([([(-9, 3.2), (-1, 2.6)], 3.2, 2.4)], s.base)
    _cat_head(brush, 5, 33.5)


def _cat_standing(brush: Brush) -> None:
    s = brush.shades
    sway = brush.rng.uniform(-5, 4)
    brush.tubes(
        [([(-15, 21), (-30, 22), (-25 + sway * 0.4, 38), (-24 + sway, 44)], 2.3, 1.7)], s.base
    )
    brush.tubes([([(-10, 15), (-9, 2.2)], 2.6, 2.2), ([(12, 15), (13, 2.2)], 2.5, 2.2)], s.dark)
    brush.tubes([([(-11, 19.5), (11, 20)], 7.4, 6.8)], s.base)
    brush.tubes([([(-15, 17), (-16, 2.4)], 3.4, 2.3), ([(7, 16), (7, 2.4)], 2.9, 2.3)], s.base)
    brush.tubes([([(-12, 19.5), (10, 20)], 6.6, 6.0)], s.base, 0.0)
    _cat_head(brush, 17, 29)


def _cat_lying(brush: Brush) -> None:
    s = brush.shades
    brush.tubes([([(-16, 4), (-36, 0), (-33, 16), (-25, 13)], 2.4, 1.8)], s.base)
    brush.tubes([([(-11, 9), (10, 9)], 8.6, 7.4)], s.base)
    brush.tubes([([(8, 3.6), (24, 2.8)], 2.8, 2.5)], s.base)
    brush.tubes([([(-16, 3.4), (-5, 2.8)], 3.2, 2.5)], s.base)
    _cat_head(brush, 13, 14.5)


def _cat_jumping(brush: Brush) -> None:
    s = brush.shades
    brush.tubes([([(-12, 20), (-24, 18), (-26, 34), (-32, 36)], 2.3, 1.7)], s.base)
    brush.tubes(
        [([(-9, 17), (-13, 12), (-17, 6.5)], 3.0, 2.1), ([(11, 30), (20, 29), (26, 32)], 2.7, 2.2)],
        s.dark,
    )
    brush.tubes([([(-10, 21), (11, 32)], 7.4, 6.6)], s.base)
    brush.tubes(
        [([(-14, 19), (-22, 14), (-27, 8)], 3.6, 2.2), ([(13, 30), (19, 24), (25, 25)], 2.9, 2.3)],
        s.base,
    )
    brush.tubes([([(-11, 21), (10, 32)], 6.6, 5.8)], s.base, 0.0)
    _cat_head(brush, 17, 41)


def _dog_sitting(brush: Brush) -> None:
    s = brush.shades
    wag = brush.rng.uniform(6, 13)
    brush.tubes([([(-11, 5), (-18, 6), (-20, wag)], 3.2, 2.2)], s.base)
    brush.tubes([([(10.5, 20), (11.5, 2.8)], 3.2, 2.8)], s.dark)
    brush.tubes([([(-5, 11), (5, 27)], 11, 8.4), ([(6, 27), (8, 36)], 7, 6)], s.base)
    brush.tubes([([(5, 22), (6, 3)], 3.8, 3.0)], s.base)
    brush.tubes([([(-8, 3.8), (-1, 3)], 3.8, 2.8)], s.base)
    _dog_head(brush, 8.5, 39.5)


def _dog_standing(brush: Brush) -> None:
    s = brush.shades
    wag = brush.rng.uniform(-3, 3)
    brush.tubes([([(-18, 25), (-24, 28), (-26 + wag, 36)], 3.2, 2.0)], s.base)
    brush.tubes([([(-11, 17), (-10, 2.8)], 3.4, 2.8), ([(12, 17), (13, 2.8)], 3.3, 2.8)], s.dark)
    brush.tubes([([(-12, 22), (9, 22.5)], 9, 9.6), ([(10, 25), (16, 35)], 7.4, 6.4)], s.base)
    brush.tubes([([(-17, 19), (-17, 3)], 4.4, 3.0), ([(6, 17), (6, 3)], 3.8, 3.0)], s.base)
    brush.tubes([([(-13, 22), (8, 22.5)], 8.2, 8.8)], s.base, 0.0)
    _dog_head(brush, 17.5, 37.5)


def _dog_lying(brush: Brush) -> None:
    s = brush.shades
    brush.tubes([([(-19, 7), (-26, 6), (-30, 9)], 3.0, 2.1)], s.base)
    brush.tubes([([(-11, 11), (8, 10.5)], 10.6, 9.6), ([(9, 14), (13, 22)], 7, 6.2)], s.base)
    brush.tubes([([(8, 4), (27, 3.4)], 3.6, 3.1)], s.base)
    brush.tubes([([(-17, 4.6), (-4, 3.4)], 4.2, 3.1)], s.base)
    _dog_head(brush, 13.5, 24)


def _dog_jumping(brush: Brush) -> None:
    s = brush.shades
    brush.tubes([([(-15, 25), (-22, 28), (-25, 35)], 3.1, 2.0)], s.base)
    brush.tubes(
        [([(-10, 18), (-14, 12), (-18, 7)], 3.8, 2.7), ([(12, 30), (21, 29), (27, 31)], 3.3, 2.7)],
        s.dark,
    )
    brush.tubes([([(-10, 22), (10, 31)], 8.8, 9.2), ([(11, 33), (16, 42)], 7.2, 6.4)], s.base)
    brush.tubes(
        [
            ([(-15, 20), (-22, 14), (-27, 8.5)], 4.4, 2.8),
            ([(12, 28), (19, 22), (26, 23)], 3.7, 2.9),
        ],
        s.base,
    )
    brush.tubes([([(-11, 22), (9, 31)], 8.0, 8.4)], s.base, 0.0)
    _dog_head(brush, 18, 45)


DRAWINGS: dict[str, Callable[[Brush], None]] = {
    "cat sitting": _cat_sitting,
    "cat standing": _cat_standing,
    "cat lying": _cat_lying,
    "cat jumping": _cat_jumping,
    "dog sitting": _dog_sitting,
    "dog standing": _dog_standing,
    "dog lying": _dog_lying,
    "dog jumping": _dog_jumping,
}
