"""Attention maps: where in the picture a word looked, as numbers, heat map, overlay and mask."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scumble.arrays import Bools
from scumble.errors import NumericalError, OptionError
from scumble.pixels import Pixels, Size, described

__all__ = ["AttentionMap", "Side"]

Side = Literal["source", "target"]

# The colour map magma (Smith and van der Walt 2015, CC0) at 15 equal steps: lightness rises evenly.
HEAT = np.array(
    [
        (0x00, 0x00, 0x04),
        (0x0C, 0x09, 0x26),
        (0x22, 0x11, 0x50),
        (0x40, 0x0F, 0x74),
        (0x5F, 0x18, 0x7F),
        (0x7B, 0x23, 0x82),
        (0x98, 0x2D, 0x80),
        (0xB6, 0x36, 0x79),
        (0xD3, 0x43, 0x6E),
        (0xEB, 0x57, 0x60),
        (0xF8, 0x76, 0x5C),
        (0xFD, 0x9A, 0x6A),
        (0xFE, 0xBB, 0x81),
        (0xFD, 0xDC, 0x9E),
        (0xFC, 0xFD, 0xBF),
    ],
    dtype=np.float32,
)


@dataclass(frozen=True, slots=True, eq=False)
class AttentionMap:
    """How much each place of a picture attends to one word, averaged as the run asked.

    Attributes:
        word: the word or phrase, as in the prompt.
        values: (h, w) float32, at least 0, at the size of the attention sites, read-only.
        side: the prompt it stands in.
    """

    word: str
    values: NDArray[np.float32]
    side: Side

    def __post_init__(self) -> None:
        if self.side not in get_args(Side):
            raise OptionError(
                f"a map's side is one of {', '.join(get_args(Side))}; got {self.side!r}."
            )
        values = np.array(self.values, dtype=np.float32)
        if values.ndim != 2 or not values.size:
            raise OptionError(
                f"the map of {self.word!r} has two axes, (h, w); got {described(values)}."
            )
        if not np.isfinite(values).all() or values.min() < 0:
            raise NumericalError(
                f"the map of {self.word!r} holds NaN, infinite or negative attention; "
                "try float32 or a lower guidance."
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @property
    def normalised(self) -> NDArray[np.float32]:
        """(h, w) in [0, 1]: divided by the greatest value; all 0 where there is no attention."""
        top = self.values.max()
        return self.values / top if top > 0 else np.zeros_like(self.values)

    def heat(self, size: Size | None = None) -> Image.Image:
        """Return an RGB heat map, dark for none and light for most attention.

        Args:
            size: (height, width) in pixels, scaled up smoothly; None for one pixel a value.
        """
        levels = self.normalised
        if size is not None:
            _check_size(size)
            smooth = Image.fromarray(levels).resize((size[1], size[0]), Image.Resampling.BICUBIC)
            levels = np.asarray(smooth)
        return Image.fromarray(_coloured(levels))

    def overlay(self, image: Image.Image, strength: float = 0.6) -> Image.Image:
        """Return the heat map laid over a picture, RGB, at the picture's size.

        Args:
            image: the picture the map belongs to, of any mode and size.
            strength: share of the heat map, 0 (picture only) to 1 (heat map only).

        Raises:
            OptionError: a strength outside of 0..1.
        """
        if not 0 <= strength <= 1:
            raise OptionError(f"the strength of an overlay is a share, 0 to 1; got {strength}.")
        picture = image.convert("RGB")
        return Image.blend(picture, self.heat((picture.height, picture.width)), strength)

    def mask(self, threshold: float = 0.3, size: Size | None = None) -> Bools:
        """Return where attention is above a share of its maximum, (h, w) bool.

        Args:
            threshold: share of the greatest value, 0 to 1; a map without attention gives an empty
                mask at any threshold.
            size: (height, width), scaled without smoothing; None for the size of the map.

        Raises:
            OptionError: a threshold outside of 0..1.
        """
        if not 0 <= threshold <= 1:
            raise OptionError(f"a threshold is a share of the maximum, 0 to 1; got {threshold}.")
        bits = self.normalised > threshold
        if size is None:
            return bits
        _check_size(size)
        return bits[np.ix_(*(_nearest(n, m) for n, m in zip(size, bits.shape, strict=True)))]


def _nearest(cells: int, values: int) -> NDArray[np.intp]:
    """Return (cells,): the index of the value that each cell's centre lies in."""
    return ((2 * np.arange(cells) + 1) * values // (2 * cells)).astype(np.intp)


def _coloured(levels: NDArray[np.float32]) -> Pixels:
    """Return (h, w, 3) uint8 from (h, w), where 0..1 spans the colours and the rest is clipped."""
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(levels, stops, HEAT[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _check_size(size: Size) -> None:
    if len(size) != 2 or min(size) < 1:
        raise OptionError(f"a size is (height, width), at least one pixel each; got {size}.")
