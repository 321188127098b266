"""Drawings of all that stands still: sofa, table, lamp, carpet, picture, vase, ball."""

from collections.abc import Callable
from math import cos, pi, sin

from scumble_bench.rooms.drawing import Brush, Point

LINE = 0.7


def sofa(brush: Brush) -> None:
    """Back with cushions, seat, two arms, feet."""
    s = brush.shades
    plump = brush.rng.uniform(3.5, 7)
    cushions = brush.rng.choice((1, 2, 2, 3))
    for x in (-25, 25):
        brush.box((x - 2, 0), (x + 2, 5), s.line)
    brush.box((-27, 8), (27, 37), s.base, plump, LINE)
    width = 42 / cushions
    for i in range(cushions):
        left = -21 + i * width
        brush.box((left + 0.8, 14), (left + width - 0.8, 33.5), s.light, 3)
        brush.box((left + 0.8, 13), (left + width - 0.8, 32), s.base, 3)
    brush.box((-22, 3.5), (22, 10), s.dark, 1, LINE)
    brush.box((-22, 8.5), (22, 16), s.base, 2.5, LINE)
    brush.box((-21.5, 13), (21.5, 15.7), s.light, 1.3)
    for side in (-1, 1):
        brush.box((side * 30.5, 3), (side * 20.5, 24), s.base, 4.2, LINE)
        brush.box((side * 28.5, 20), (side * 22.5, 23), s.light, 1.5)


def table(brush: Brush) -> None:
    """Either four legs and a square top, or one leg and a round top."""
    s = brush.shades
    if brush.rng.random() < 0.6:
        for x in (-18, 18):
            brush.box((x - 1.6, 4), (x + 1.6, 24), s.dark, 0, LINE)
        for x in (-23, 23):
            brush.box((x - 2.3, 0), (x + 2.3, 22), s.base, 0.5, LINE)
        brush.box((-26.5, 18.5), (26.5, 23), s.base, 0.5, LINE)
        brush.polygon([(-26.5, 23), (26.5, 23), (21, 31.5), (-21, 31.5)], s.light, LINE)
        brush.polygon([(-25, 23.8), (25, 23.8), (20.4, 30.7), (-20.4, 30.7)], s.base)
    else:
        brush.ellipse((0, 3), 13, 3.4, s.dark, LINE)
        brush.box((-3, 3), (3, 24), s.base, 1, LINE)
        brush.ellipse((0, 23.5), 26, 6.6, s.dark, LINE)
        brush.ellipse((0, 26), 26, 6.2, s.base, LINE)
        brush.ellipse((-3, 26.8), 19, 3.8, s.light)
        brush.ellipse((-2.2, 26.4), 19, 3.7, s.base)


def lamp(brush: Brush) -> None:
    """A floor lamp; its shade has most of the colour."""
    s = brush.shades
    flare = brush.rng.uniform(6.5, 10)
    brush.ellipse((0, 1), 9, 2.4, s.base, LINE)
    brush.box((-1.5, 1), (1.5, 44), s.dark, 0, 0.4)
    brush.polygon([(-13, 41), (13, 41), (flare, 62), (-flare, 62)], s.base, LINE)
    brush.polygon([(-9, 41), (-3, 41), (-flare * 0.25, 62), (-flare * 0.7, 62)], s.light)
    brush.ellipse((0, 41), 12.6, 1.6, s.light)


def carpet(brush: Brush) -> None:
    """Lies on the floor: an ellipse, or a rectangle seen at an angle."""
    s, rng = brush.shades, brush.rng
    if rng.random() < 0.5:
        brush.ellipse((0, 0), 46, 14.5, s.base, LINE)
        brush.ellipse((0, 0), 41, 12.4, s.light)
        brush.ellipse((0, 0), 38.5, 11.4, s.base)
        brush.ellipse((0, 0), rng.uniform(12, 20), rng.uniform(3, 5.5), s.dark)
        return

    def at(u: float, v: float) -> Point:
        return u * (40 - 7 * v), v * 13.5

    for i in range(14):
        v = -0.96 + i * 0.148
        for side in (-1, 1):
            x, y = at(side, v)
            brush.stroke([(x, y), (x + side * 3.5, y)], 0.7, s.light)
    brush.polygon([at(-1, -1), at(1, -1), at(1, 1), at(-1, 1)], s.base, LINE)
    for inset, paint in ((0.88, s.light), (0.82, s.base)):
        k = inset
        h = inset - 0.06
        brush.polygon([at(-k, -h), at(k, -h), at(k, h), at(-k, h)], paint)
    for u in rng.choice(((), (-0.45, 0, 0.45), (-0.5, 0.5), (0,))):
        brush.polygon([at(u - 0.16, 0), at(u, -0.42), at(u + 0.16, 0), at(u, 0.42)], s.dark)


def picture(brush: Brush) -> None:
    """A framed landscape or pattern in shades of one colour."""
    s, rng = brush.shades, brush.rng
    tall = rng.random() < 0.4
    w, h = (12.5, 14.5) if tall else (17, 13)
    brush.box((-w, -h), (w, h), s.dark, 0.8, LINE)
    a, b = w - 2.6, h - 2.6
    brush.box((-a, -b), (a, b), s.base)
    if rng.random() < 0.6:
        brush.ellipse((rng.uniform(-0.5, 0.5) * a, b * 0.35), 2.8, 2.8, s.light)
        peak = rng.uniform(-0.6, 0.3) * a
        brush.polygon([(-a, -b), (peak, rng.uniform(-3, 2)), (a * 0.7, -b)], s.dark)
    else:
        brush.ellipse((0, 0), a * 0.62, b * 0.62, s.light)
        brush.ellipse((0, 0), a * 0.42, b * 0.42, s.base)


def vase(brush: Brush) -> None:
    """One of three outlines turned around the upright axis."""
    s, rng = brush.shades, brush.rng
    profile = rng.choice(
        (
            ((6, 0), (9.5, 5), (11, 12), (8, 20), (4.5, 25), (4.5, 28), (7, 31)),
            ((5, 0), (6, 4), (10.5, 14), (11, 20), (8, 26), (5.5, 28), (6.5, 31)),
            ((7, 0), (11, 4), (11.5, 10), (7, 17), (4, 21), (5, 27), (8.5, 31)),
        )
    )
    right = [(float(x), float(y)) for x, y in profile]
    brush.polygon([*right, *((-x, y) for x, y in reversed(right))], s.base, LINE)
    band = rng.random() < 0.6
    for i, (x, y) in enumerate(right[1:4], 1):
        brush.ellipse((-x * 0.45, y), 1.7, 3.4, s.light)
        if band and i == 2:
            brush.stroke([(-x, y), (-x * 0.5, y - 1.4), (x * 0.5, y - 1.4), (x, y)], 2, s.dark)
    brush.ellipse((0, 31), profile[-1][0], 1.7, s.dark, LINE)


def ball(brush: Brush) -> None:
    """A ball with a band or with panels, and a highlight."""
    s, rng = brush.shades, brush.rng
    centre, r = (0.0, 12.8), 12.4
    brush.ellipse(centre, r, r, s.base, LINE)
    turn = rng.uniform(0, pi)
    if rng.random() < 0.5:
        for k in range(3):
            a = turn + k * 2 * pi / 3
            bend = (0.55 * r * cos(a + 0.5), 12.8 + 0.55 * r * sin(a + 0.5))
            brush.stroke([centre, bend, (r * cos(a), 12.8 + r * sin(a))], 1.1, s.dark)
    else:
        c, d = cos(turn), sin(turn)
        arc = [
            (r * cos(t) * c - 0.3 * r * sin(t) * d, r * cos(t) * d + 0.3 * r * sin(t) * c)
            for t in (0, 0.5, 1, pi / 2, 2.1, 2.6, pi)
        ]
        brush.stroke([(x, y + 12.8) for x, y in arc], 2.4, s.dark)
    brush.ellipse((-4.3, 17.6), 3.1, 2.4, s.light)


DRAWINGS: dict[str, Callable[[Brush], None]] = {
    "sofa": sofa,
    "table": table,
    "lamp": lamp,
    "carpet": carpet,
    "picture": picture,
    "vase": vase,
    "ball": ball,
}
