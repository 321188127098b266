"""The parts of an edit that metrics look at: kept and changed pixels, in the published way.

The published evaluation multiplies whole pictures by a mask and measures the full frame, blackened
pixels included. So a value depends on how large the mask is: pixels that are black in both pictures
count as equal.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scumble.errors import OptionError
from scumble.pixels import Pixels
from scumble_bench.evaluation.metrics.protocol import MetricProtocol

__all__ = ["SMALLEST", "Floats", "Frames", "frames", "through_jpeg"]

Floats = NDArray[np.float32]
"""(h, w, 3) of 0 to 1."""

SMALLEST = 17
"""Shortest side in pixels: of smaller ones nothing is left for the last pool of SqueezeNet."""


@dataclass(frozen=True, slots=True)
class Frames:
    """An edit as it is measured.

    Attributes:
        source: (h, w, 3), the picture that was edited.
        edited: (h, w, 3), what came out, after whatever the protocol does to it.
        mask: (h, w) bool, True where the picture was to change.
    """

    source: Pixels
    edited: Pixels
    mask: NDArray[np.bool_]

    def kept(self) -> tuple[Floats, Floats] | None:
        """Source and edit of 0 to 1, black where they were to change; None if that is everywhere.

        Both (h, w, 3): the frame keeps its size.
        """
        if self.mask.all():
            return None
        keep = (~self.mask[..., None]).astype(np.float32)
        return _unit(self.source) * keep, _unit(self.edited) * keep

    def changed(self) -> Pixels | None:
        """The edit, black where it was not to change, (h, w, 3); None if that is everywhere."""
        if not self.mask.any():
            return None
        return np.where(self.mask[..., None], self.edited, np.uint8(0))


def frames(
    source: Pixels,
    edited: Pixels,
    mask: NDArray[np.bool_] | NDArray[np.uint8],
    protocol: MetricProtocol,
) -> Frames:
    """An edit, checked, as the protocol has it measured.

    Args:
        source: (h, w, 3), the picture that was edited.
        edited: (h, w, 3), what came out.
        mask: (h, w) bool, or uint8 of 0 and 1 or of 0 and 255.
        protocol: says whether the edit goes through JPEG.

    Raises:
        OptionError: shapes or types do not fit, or the pictures are too small.
    """
    for name, picture in (("source", source), ("edit", edited)):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise OptionError(
                f"the {name} to be measured is {picture.dtype} of shape {picture.shape}; "
                "give uint8 of shape (height, width, 3)."
            )
    if source.shape != edited.shape:
        raise OptionError(
            f"the source has shape {source.shape} and its edit {edited.shape}; "
            "bring both to one size before they are measured."
        )
    if min(source.shape[:2]) < SMALLEST:
        raise OptionError(
            f"pictures of shape {source.shape} are too small to be measured; "
            f"no side may have fewer than {SMALLEST} pixels."
        )
    if protocol.jpeg_quality is not None:
        edited = through_jpeg(edited, protocol.jpeg_quality)
    return Frames(source, edited, _checked(mask, source.shape[:2]))


def through_jpeg(picture: Pixels, quality: int) -> Pixels:
    """A picture as it is after Pillow has written and read it as JPEG, (h, w, 3).

    The published script saves the edit beside other panels, in one file. Chroma is smoothed across
    the border of two panels, so the leftmost column can differ from the published file's.
    """
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def _unit(picture: Pixels) -> Floats:
    """Return a picture of 0 to 1."""
    return picture.astype(np.float32) / np.float32(255)


def _checked(
    mask: NDArray[np.bool_] | NDArray[np.uint8], size: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return the mask as bool, once it is sure what its values mean."""
    if mask.shape != size or mask.dtype.name not in ("bool", "uint8"):
        raise OptionError(
            f"the mask is {mask.dtype} of shape {mask.shape}; give bool or uint8 of shape {size}."
        )
    values = {int(value) for value in np.unique(mask)}
    if not (values <= {0, 1} or values <= {0, 255}):
        raise OptionError(
            f"the mask has {len(values)} different values; give 0 where the picture was to stay, "
            "and 1 or 255 where it was to change."
        )
    return mask != 0
