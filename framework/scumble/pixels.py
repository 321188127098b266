"""Arrays of pixels: their types, what identifies them, and how they are fitted to a size.

Sizes are (height, width) throughout, as in arrays; only sentences say width x height.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scumble.errors import OptionError

__all__ = [
    "Fit",
    "Pixels",
    "Placement",
    "Size",
    "described",
    "digest",
    "in_words",
    "placement",
]

Pixels = NDArray[np.uint8]  # (h, w, 3) RGB
Size = tuple[int, int]  # (height, width)
Fit = Literal["crop", "pad", "stretch"]


@dataclass(frozen=True, slots=True)
class Placement:
    """How a picture comes to a size: cut out `box`, resize to `inner`, add `borders`.

    Attributes:
        box: the part that is kept, as (rows, columns) of the source.
        inner: (height, width) that the part is resized to.
        borders: pixels added (before, after) on the height and on the width.
    """

    box: tuple[slice, slice]
    inner: Size
    borders: tuple[tuple[int, int], tuple[int, int]]

    @property
    def kept(self) -> Size:
        """(height, width) of the part that is kept."""
        rows, columns = self.box
        return rows.stop - rows.start, columns.stop - columns.start


def placement(source: Size, size: Size, how: Fit) -> Placement:
    """Return where a picture of size `source` goes in one of `size`, to whole pixels.

    Raises:
        OptionError: a size that is no multiple of 8, or an unknown way to fit.
    """
    if how not in get_args(Fit):
        raise OptionError(f"unknown way to fit {how!r}; use one of {', '.join(get_args(Fit))}.")
    if any(side < 8 or side % 8 for side in size):
        raise OptionError(
            f"a model's picture cannot have {in_words(size)} pixels; use multiples of 8."
        )
    (height, width), (to_height, to_width) = source, size
    kept, inner = source, size
    if how == "crop":
        kept = _scaled(width, to_height, to_width), _scaled(height, to_width, to_height)
        kept = min(height, kept[0]), min(width, kept[1])
    elif how == "pad":
        inner = _scaled(to_width, height, width), _scaled(to_height, width, height)
        inner = min(to_height, inner[0]), min(to_width, inner[1])
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    over, aside = (to_height - inner[0]) // 2, (to_width - inner[1]) // 2
    return Placement(
        box=(slice(top, top + kept[0]), slice(left, left + kept[1])),
        inner=inner,
        borders=((over, to_height - inner[0] - over), (aside, to_width - inner[1] - aside)),
    )


def _scaled(side: int, wanted: int, per: int) -> int:
    """Return side * wanted / per, at least one pixel."""
    return max(1, round(side * wanted / per))


def digest(values: NDArray[np.generic]) -> str:
    """Return the sha256 of shape, dtype and values: 64x128 white is not 128x64 white."""
    kind = f"{values.dtype.str}{values.shape}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(values).tobytes()).hexdigest()


def described(given: object) -> str:
    """Return what an array is, for a sentence: "float64 of shape (4, 4)"."""
    array: Any = given
    if isinstance(given, np.ndarray):
        return f"{array.dtype} of shape {array.shape}"
    return type(given).__name__


def in_words(size: Size) -> str:
    """Return "width x height", for a sentence."""
    return f"{size[1]}x{size[0]}"
