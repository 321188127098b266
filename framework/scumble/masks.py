"""Masks: which part of a picture may change.

White may change, black stays. Sizes are (height, width).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scumble.arrays import Bools, frozen
from scumble.decoding import check_size, decode
from scumble.errors import ImageError
from scumble.pixels import Fit, Pixels, Size, described, digest, in_words, placement

__all__ = [
    "SOURCE_NAMES",
    "Mask",
    "MaskLike",
    "load_mask",
    "mask_name",
    "mask_source",
    "mask_to_latent",
    "read_mask",
]

SOURCE_NAMES = r"^(image|mask(\.[^.]+)?)$"
"""What a recipe calls the files of a run: a mask that the user named is `mask.NAME`."""

MaskLike: TypeAlias = str | Path | Image.Image | Pixels | Bools
"""A path, a Pillow image, (h, w) bool, (h, w) uint8 or (h, w, 3) uint8."""

WHITE_FROM = 128  # the first of 256 levels above one half


@dataclass(frozen=True, slots=True)
class Mask:
    """Where a picture may change.

    Attributes:
        pixels: (h, w) bool, True where the picture may change, read-only.
        origin: the path as the user gave it, None if it came from memory.
        notes: one sentence for each conversion that can move its edge.
        sha256: of the shape and the pixels.
    """

    pixels: Bools = field(compare=False, repr=False)
    origin: str | None = None
    notes: tuple[str, ...] = ()
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen(self.pixels))
        object.__setattr__(self, "sha256", digest(self.pixels))


def mask_source(name: str) -> str:
    """Return what a recipe calls a mask; the one without a name is `mask`."""
    return f"mask.{name}" if name else "mask"


def mask_name(source: str) -> str | None:
    """Return the name of a mask from what a recipe calls it; None if that is no mask."""
    kind, _, name = source.partition(".")
    return name if kind == "mask" else None


def load_mask(
    source: MaskLike,
    size: Size,
    *,
    fitted: Size | None = None,
    how: Fit = "crop",
) -> Bools:
    """Return `read_mask(...).pixels`, (h, w) bool, for those who need no notes."""
    return read_mask(source, size, fitted=fitted, how=how).pixels


def read_mask(
    source: MaskLike,
    size: Size,
    *,
    fitted: Size | None = None,
    how: Fit = "crop",
) -> Mask:
    """Return the mask of a picture: white is True and may change, black is False and stays.

    Transparent places count as black, grey from 128 of 255 on as white.

    Args:
        source: a path, a Pillow image, (h, w) bool, (h, w) uint8 or (h, w, 3) uint8.
        size: (height, width) of the picture before it was fitted; the mask must have it too.
        fitted: the size that the picture was fitted to, both multiples of 8; None if it was not.
        how: the picture's way to fit; what "pad" adds stays as it is.

    Raises:
        ImageError: unreadable, of another size, or nothing white in what is kept of it.
        OptionError: a fitted size that is no multiple of 8, or an unknown way to fit.
    """
    origin = str(source) if isinstance(source, str | Path) else None
    name = "the mask given" if origin is None else f"mask {origin!r}"
    levels, notes = _levels(source)
    found = (levels.shape[0], levels.shape[1])
    if found != size:
        raise ImageError(
            f"{name} has {in_words(found)} pixels and its picture {in_words(size)}; "
            "make them equal."
        )
    bits = levels >= WHITE_FROM
    if not bits.any():
        raise ImageError(
            f"{name} selects nothing, its brightest value is {levels.max()} of 255; "
            "paint white what may change."
        )
    if bits.all():
        notes.append("The mask covers the whole picture.")
    if not np.isin(levels, (0, 255)).all():
        notes.append(f"Grey in the mask: {WHITE_FROM} and above counts as white.")
    if fitted is not None:
        bits = _fitted(bits, name, fitted, how)
    return Mask(bits, origin, tuple(notes))


def mask_to_latent(mask: Bools, size: Size) -> Bools:
    """Return the mask on a coarser grid, (h, w) bool: True where at least half is covered.

    If no cell is half covered but the mask is not empty, every cell it touches is True: a thin
    mask then edits a little too much, where otherwise it would edit nothing at all.

    Args:
        mask: (H, W) bool.
        size: (h, w) of the grid; H / h and W / w need not be whole numbers.
    """
    rows, columns = _overlap(size[0], mask.shape[0]), _overlap(size[1], mask.shape[1])
    covered = rows @ mask.astype(np.float32) @ columns.T
    half = covered >= 0.5 - 1e-6
    return half if half.any() else covered > 0


def _overlap(cells: int, pixels: int) -> NDArray[np.float32]:
    """Return (cells, pixels): the share of each cell that each pixel covers; rows sum to 1."""
    edges = np.arange(cells + 1) * pixels / cells
    places = np.arange(pixels)
    shared = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    return (np.maximum(shared, 0) * cells / pixels).astype(np.float32)


def _fitted(bits: Bools, name: str, size: Size, how: Fit) -> Bools:
    """Return the mask, (height, width) bool, placed as `images.fit` places its picture."""
    place = placement((bits.shape[0], bits.shape[1]), size, how)
    part = bits[place.box]
    if not part.any():
        raise ImageError(
            f"{name} selects nothing in the {in_words(place.kept)} pixels kept of its picture; "
            "fit with 'pad' or 'stretch', or crop both yourself."
        )
    inner = part if part.shape == place.inner else mask_to_latent(part, place.inner)
    return np.pad(inner, place.borders)


def _levels(source: MaskLike) -> tuple[Pixels, list[str]]:
    """Return grey levels, (h, w) uint8, and notes."""
    if isinstance(source, str | Path | Image.Image):
        decoded = decode(source, what="mask", background=0, colour=False)
        return np.asarray(decoded.image.convert("L")), list(decoded.notes)
    kind, axes = source.dtype.kind + str(source.dtype.itemsize), source.shape[2:]
    if source.ndim < 2 or (kind, axes) not in {("b1", ()), ("u1", ()), ("u1", (3,))}:
        raise ImageError(
            "a mask in memory is bool or uint8 of shape (h, w), or uint8 of shape (h, w, 3); "
            f"got {described(source)}."
        )
    check_size(source.shape[1], source.shape[0], "the mask given")
    if kind == "b1":
        return np.where(source, 255, 0).astype(np.uint8), []
    return np.asarray(Image.fromarray(source).convert("L")), []
