"""The empty room: wall, floor, skirting board, window, and the light in it."""

from functools import cache

import numpy as np

from scumble_bench.rooms.room import FLOORS, SIZE, WALLS, Room

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]

WINDOW = (36, 40)  # width, height in px
WINDOW_TOP = 9
GLOW = 50.0  # reach of a lamp at night, px
NIGHT = np.array([0.5, 0.55, 0.76], np.float32)
LAMP_LIGHT = np.array([1.06, 1.0, 0.84], np.float32)


@cache
def _grid() -> tuple[Floats, Floats]:
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return x, y


@cache
def daylight(horizon: int) -> Floats:
    """Light falling from the upper left, a little darker in the corners: (128, 128, 1)."""
    x, y = _grid()
    light = 1.05 - 0.10 * (x / SIZE) - 0.06 * np.clip((y - horizon) / SIZE, 0, 1)
    light -= 0.07 * np.clip(1 - np.abs(y - horizon) / 16, 0, 1) * (y < horizon)
    return light[..., None].astype(np.float32)


def light_of(room: Room) -> Floats:
    """What every paint is multiplied by: (128, 128, 3). A lamp shines at night."""
    light = np.repeat(daylight(room.horizon), 3, axis=2)
    if not room.night:
        return light
    light *= NIGHT
    for thing in room.things:
        if thing.noun == "lamp":
            x, y = _grid()
            far = (x - thing.x) ** 2 + (y - (thing.y - 50 * thing.scale)) ** 2
            glow = np.clip(1 - far / GLOW**2, 0, 1)[..., None] ** 1.5
            light += (LAMP_LIGHT - light) * glow
    return light


def _floor(room: Room, paint: Floats) -> None:
    rng = room.details(-1)
    x, y = _grid()
    below = slice(room.horizon, SIZE)
    depth = (y[below] - room.horizon) / (SIZE - room.horizon)
    tone = np.asarray(FLOORS[room.floor], np.float32) + rng.uniform(-8, 8)
    across = (x[below] - SIZE / 2) / (0.55 + 0.75 * depth)
    shade = np.ones_like(depth)
    if room.floor == "wooden":
        board = across / rng.uniform(13, 17) + rng.random()
        shade -= 0.05 * (np.floor(board) % 2)
        shade -= 0.10 * np.clip(1 - np.abs(board % 1 - 0.5) * -22 - 11 + 1.2, 0, 1)
    elif room.floor == "tiled":
        u = across / 17 + rng.random()
        v = 5.2 * np.log1p(1.6 * depth) + rng.random()
        softness = 6.0
        wave = np.sin(np.pi * u) * np.sin(np.pi * v) * softness
        shade -= 0.05 + 0.05 * np.clip(wave, -1, 1)
    paint[below] = tone * shade[..., None]


def _window(room: Room, paint: Floats, left: int) -> None:
    width, height = WINDOW
    top = WINDOW_TOP
    frame = np.array([236, 232, 224], np.float32) * (0.62 if room.night else 1.0)
    paint[top - 1 : top + height + 1, left - 1 : left + width + 1] *= 0.82
    paint[top : top + height, left : left + width] = frame
    x, y = (g[top + 3 : top + height - 3, left + 3 : left + width - 3] for g in _grid())
    share = ((y - top) / height)[..., None]
    if room.night:
        sky = np.array([22, 28, 62], np.float32) + share * np.array([26, 30, 48], np.float32)
        rng = room.details(-1)
        moon = np.hypot(x - left - rng.uniform(9, 26), y - top - rng.uniform(9, 16))
        disc = np.clip(5.2 - moon, 0, 1)[..., None]
        sky = sky + np.clip(1 - moon / 14, 0, 1)[..., None] * 36
        sky = sky * (1 - disc) + np.array([246, 242, 214], np.float32) * disc
    else:
        sky = np.array([176, 208, 232], np.float32) + share * np.array([44, 26, 8], np.float32)
        hill = 0.76 + 0.05 * np.sin((x - left) / 6 + room.seed % 7)
        green = np.clip((share[..., 0] - hill) * height, 0, 1)[..., None]
        sky = sky * (1 - green) + np.array([158, 186, 140], np.float32) * green
    paint[top + 3 : top + height - 3, left + 3 : left + width - 3] = sky
    middle = left + width // 2
    paint[top : top + height, middle - 1 : middle + 1] = frame
    paint[top + height // 2 - 1 : top + height // 2 + 1, left : left + width] = frame
    paint[top + height : top + height + 3, left - 2 : left + width + 2] = frame * 0.9


def backdrop(room: Room, light: Floats) -> Floats:
    """The room without its things: (128, 128, 3) float32 in 0 to 255."""
    rng = room.details(-1)
    paint = np.empty((SIZE, SIZE, 3), np.float32)
    paint[: room.horizon] = np.asarray(WALLS[room.wall], np.float32) + rng.uniform(-7, 7)
    _floor(room, paint)
    board = np.array([232, 228, 220], np.float32)
    paint[room.horizon - 5 : room.horizon] = board
    paint[room.horizon - 6] *= 0.86
    paint[room.horizon - 1 : room.horizon + 1] *= 0.76
    paint *= light
    if room.window is not None:
        _window(room, paint, room.window)
    return paint
