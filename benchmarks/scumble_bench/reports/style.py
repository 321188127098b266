"""How plots look, and their bytes: the same data gives the same picture.

Colours are those of Okabe and Ito (2008), which people with any kind of colour vision tell apart;
on dark ground they are lightened. Nothing of the reader's own matplotlib settings is used.
"""

# matplotlib leaves its keyword arguments without a type.
# pyright: reportUnknownMemberType=false

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

__all__ = [
    "DARK", "LIGHT", "Plot", "Theme", "bare", "doublings", "render", "round_numbers", "shortened",
    "titled",
]  # fmt: skip

DPI = 160
COLOURS = 128
NO_DITHER = Image.Dither.NONE
NAME = 68
"""Characters of a name beside its row; method, engine, precision, edit and convention fit."""


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a plot.

    Attributes:
        ground: behind everything.
        ink: of text.
        quiet: of what stands back: axes, whiskers, what does not count.
        lines: of the grid.
        colours: told apart by everybody; the first is ours, the second a peer's.
    """

    ground: str
    ink: str
    quiet: str
    lines: str
    colours: tuple[str, ...]


LIGHT = Theme(
    "#ffffff", "#1c2024", "#6b7280", "#e5e7eb",
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6a00", "#4d4d4d",
     "#882255", "#44aa99"),
)  # fmt: skip
DARK = Theme(
    "#15181c", "#e6e8eb", "#9aa3ad", "#2b3138",
    ("#5ab4f0", "#ff8a47", "#35cfa3", "#e8a3cb", "#f5bd41", "#a8dcff", "#d9c84a", "#c4c4c4",
     "#c9608f", "#7fd8c8"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that can be drawn on light or dark ground.

    Attributes:
        name: of its file, without the ending.
        told: what it shows, in words, for who cannot see it.
        size: (width, height) in inches.
        draw: puts it into a figure.
    """

    name: str
    told: str
    size: tuple[float, float]
    draw: Callable[[Figure, Theme], None]


def render(plot: Plot, theme: Theme = LIGHT) -> bytes:
    """Return a plot as PNG; nothing in it tells when or by what it was drawn."""
    settings: dict[str, Any] = {
        "font.size": 9, "axes.titlesize": 11, "axes.titleweight": "bold",
        "axes.titlelocation": "left", "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.quiet, "axes.facecolor": theme.ground,
        "figure.facecolor": theme.ground, "savefig.facecolor": theme.ground,
        "text.color": theme.ink, "xtick.color": theme.ink, "ytick.color": theme.ink,
        "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
        "grid.color": theme.lines, "legend.frameon": False, "legend.fontsize": 8.5,
        # A name that holds dollars is a name, and no formula.
        "text.parse_math": False,
    }  # fmt: skip
    with matplotlib.style.context(["default", settings]):
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.draw(figure, theme)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
    return _small(content)


def _small(png: io.BytesIO) -> bytes:
    """Return a picture in as many colours as a plot needs, without metadata: a third of it."""
    content = io.BytesIO()
    with Image.open(png) as picture:
        few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=NO_DITHER)
        few.save(content, format="PNG", optimize=True)
    return content.getvalue()


def titled(axes: Axes, title: str, theme: Theme, below: str = "") -> Text:
    """Give axes a title, and a quieter line below it."""
    if below:
        quiet = axes.annotate(
            below, (0, 1), (0, 5), xycoords="axes fraction", textcoords="offset points",
            color=theme.quiet, fontsize=8.5, va="bottom",
        )  # fmt: skip
        # A long line would narrow the plot.
        quiet.set_in_layout(False)
    return axes.set_title(title, pad=20 if below else 8)


def bare(axes: Axes, names: Sequence[str]) -> None:
    """Make the vertical axis a list of names, the first on top, without line and ticks."""
    axes.set_yticks(range(len(names)), [shortened(name, NAME) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def shortened(text: str, length: int = 60) -> str:
    """Return a text on one line, without its middle where it is longer than a label may be.

    What tells one long name from another is as often at its end as at its beginning.
    """
    line = " ".join(text.split())
    if len(line) <= length:
        return line
    end = (length - 1) // 2
    return f"{line[: length - 1 - end]}…{line[-end:]}"


def doublings(low: float, high: float) -> list[float]:
    """Return powers of two from at or below one end to at or above the other.

    Beyond a factor of 256 they would be too many: powers of ten.
    """
    base = 2.0 if high / low <= 256 else 10.0
    # A hair of tolerance: log(8, 2) may come out above 3.
    first = math.floor(math.log(low, base) + 1e-9)
    last = math.ceil(math.log(high, base) - 1e-9)
    return [base**power for power in range(first, last + 1)]


def round_numbers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten, from at or below one end to at or above the other.

    Beyond a factor of 1000 the powers of ten alone.
    """
    digits = (1, 2, 5) if high / low <= 1000 else (1,)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    every = [float(f"{digit}e{power}") for power in powers for digit in digits]
    below = max(number for number in every if number <= low * (1 + 1e-9))
    above = min(number for number in every if number >= high * (1 - 1e-9))
    return [number for number in every if below <= number <= above]
