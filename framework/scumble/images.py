"""Pictures as the user brings them, and as the model wants them.

Sizes are (height, width) throughout, as in arrays; only sentences say width x height.
The masks of `scumble.masks` can be had from here too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scumble.arrays import Floats, frozen
from scumble.decoding import MAX_MEGAPIXELS, check_size, decode
from scumble.errors import ImageError, NumericalError, OptionError
from scumble.masks import Mask, MaskLike, load_mask, mask_to_latent, read_mask
from scumble.pixels import Fit, Pixels, Size, described, digest, in_words, placement

__all__ = [
    "Mask",
    "Picture",
    "PictureLike",
    "fit",
    "from_model",
    "load_mask",
    "load_picture",
    "mask_to_latent",
    "masks_by_name",
    "read_mask",
    "to_model",
]

PictureLike: TypeAlias = str | Path | Image.Image | Pixels
"""A path, a Pillow image of any mode, or (h, w, 3) uint8."""


def masks_by_name(mask: MaskLike | Mapping[str, MaskLike] | None) -> dict[str, MaskLike]:
    """Return masks by their names, from one, whose name is '', or from several.

    Raises:
        OptionError: a name that a recipe could not hold.
    """
    masks = mask if isinstance(mask, Mapping) else {} if mask is None else {"": mask}
    odd = next((name for name in masks if "." in name), None)
    if odd is not None:
        raise OptionError(f"a mask is named {odd!r}; a name has no dot.")
    return dict(masks)


@dataclass(frozen=True, slots=True)
class Picture:
    """An 8-bit sRGB picture in memory.

    Attributes:
        pixels: (h, w, 3) uint8, read-only.
        origin: the path as the user gave it, None if it came from memory.
        notes: one sentence for each conversion that can change the look.
        sha256: of the shape and the pixels: of what is seen, whatever file it was in.
    """

    pixels: Pixels = field(compare=False, repr=False)
    origin: str | None = None
    notes: tuple[str, ...] = ()
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        pixels = frozen(_checked(self.pixels))
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "sha256", digest(pixels))

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def image(self) -> Image.Image:
        """The same pixels as a Pillow image of mode RGB."""
        return Image.fromarray(self.pixels)


def load_picture(source: PictureLike, *, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Return a picture in 8-bit sRGB, upright, from a file, a Pillow image or an array.

    Transparent places become white, deeper greys are scaled over their full range, CMYK and ICC
    profiles are converted; each of these leaves a note.

    Args:
        source: a path, a Pillow image of any mode, or (h, w, 3) uint8.
        max_megapixels: larger pictures are refused by their header, before decoding.

    Raises:
        ImageError: missing, unreadable, no picture, cut off, animated, too large or too narrow.
    """
    if isinstance(source, str | Path | Image.Image):
        decoded = decode(source, max_megapixels=max_megapixels)
        origin = None if isinstance(source, Image.Image) else str(source)
        return Picture(np.asarray(decoded.image), origin, decoded.notes)
    height, width, _ = _checked(source).shape
    check_size(width, height, "the picture given", max_megapixels)
    return Picture(source)


def fit(picture: Picture, size: Size, how: Fit = "crop") -> Picture:
    """Return the picture at the size of a model; the same object if it has that size already.

    Args:
        picture: of any size.
        size: (height, width), both multiples of 8, not necessarily equal.
        how: "crop" cuts the centre to the wanted proportions; "pad" keeps all of it and repeats
            its edge around it, for a model takes a plain frame for part of the scene;
            "stretch" keeps all of it and changes the proportions. Resized with Lanczos.

    Raises:
        OptionError: a size that is no multiple of 8, or an unknown way to fit.
    """
    place = placement(picture.size, size, how)
    if picture.size == size:
        return picture
    part = Image.fromarray(picture.pixels[place.box])
    inner = part.resize((place.inner[1], place.inner[0]), Image.Resampling.LANCZOS)
    pixels = np.pad(np.asarray(inner), (*place.borders, (0, 0)), mode="edge")
    did = {"crop": "cropped to its centre", "pad": "padded", "stretch": "stretched"}[how]
    note = f"Fitted from {in_words(picture.size)} to {in_words(size)} pixels, {did}."
    return Picture(pixels, picture.origin, (*picture.notes, note))


def to_model(pixels: Pixels) -> NDArray[np.float32]:
    """Return (1, 3, h, w) float32 in [-1, 1] from (h, w, 3) uint8.

    Raises:
        ImageError: another shape or dtype.
    """
    scaled = _checked(pixels).astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def from_model(values: Floats) -> Pixels:
    """Return (h, w, 3) uint8, rounded and clipped, from (1, 3, h, w) in [-1, 1].

    Raises:
        ImageError: another shape.
        NumericalError: NaN or Inf, which would come out as black pixels.
    """
    if values.ndim != 4 or values.shape[:2] != (1, 3):
        raise ImageError(
            f"a decoded picture has the shape (1, 3, h, w); got {described(values)}: "
            "decode one picture at a time."
        )
    bad = values.size - int(np.isfinite(values).sum())
    if bad:
        raise NumericalError(
            f"the decoded picture has NaN or infinity in {bad} of {values.size} values; "
            "try float32 or a lower guidance."
        )
    levels = np.rint((values[0].astype(np.float64) + 1) * 127.5)
    return np.ascontiguousarray(np.clip(levels, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _checked(given: Any) -> Pixels:
    """Return the array given if it is (h, w, 3) uint8."""
    kind, shape = getattr(given, "dtype", None), getattr(given, "shape", ())
    if kind != np.uint8 or len(shape) != 3 or shape[2] != 3:
        raise ImageError(
            f"a picture in memory is uint8 of shape (h, w, 3); got {described(given)}."
        )
    return given
