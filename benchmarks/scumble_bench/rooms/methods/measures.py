"""What of a picture changed and what stayed: arithmetic on pictures and masks.

Pictures are (height, width, 3) uint8, masks (height, width) bool, boxes left, top, right, bottom in
pixels and half-open.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

__all__ = ["box_iou", "box_of", "grown", "iou", "largest_part", "psnr", "ssim", "ssim_map"]

Bools: TypeAlias = npt.NDArray[np.bool_]
Bytes: TypeAlias = npt.NDArray[np.uint8]
Floats: TypeAlias = npt.NDArray[np.floating]
Box: TypeAlias = tuple[int, int, int, int]

LUMA = np.array([0.299, 0.587, 0.114])
REACH, SIGMA = 5, 1.5
"""Of the SSIM's window, 11 pixels wide."""


def psnr(before: Bytes, after: Bytes, where: Bools) -> float:
    """Return the peak signal-to-noise ratio in dB where a mask is True; 100 if nothing changed."""
    error = (before.astype(float) - after.astype(float))[where] / 255
    return float(-10 * np.log10(max(float(np.square(error).mean()), 1e-10)))


def ssim(before: Bytes, after: Bytes, where: Bools) -> float:
    """Return the mean of `ssim_map` where a mask is True."""
    return float(ssim_map(before, after)[where].mean())


def ssim_map(before: Bytes, after: Bytes) -> Floats:
    """Return each pixel's structural similarity, (height, width), of the two luminances.

    Wang et al. 2004, "Image Quality Assessment": a Gaussian window of 11 pixels and sigma 1.5,
    K1 = 0.01, K2 = 0.03. Beyond its edges a picture is mirrored.
    """
    one, two = _luminance(before), _luminance(after)
    mean_one, mean_two = _blurred(one), _blurred(two)
    spread_one = _blurred(one * one) - mean_one**2
    spread_two = _blurred(two * two) - mean_two**2
    shared = _blurred(one * two) - mean_one * mean_two
    least, little = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_one * mean_two + least) * (2 * shared + little)
    below = (mean_one**2 + mean_two**2 + least) * (spread_one + spread_two + little)
    return above / below


def grown(mask: Bools, pixels: int) -> Bools:
    """Return a mask that reaches so many pixels further, in a square."""
    wide = Image.fromarray(mask.astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * pixels + 1))
    return np.asarray(wide) > 0


def iou(one: Bools, two: Bools) -> float:
    """Return intersection over union of two masks; 0 where both are empty."""
    return float((one & two).sum() / max(1, (one | two).sum()))


def box_of(mask: Bools) -> Box | None:
    """Return the box around a mask, or None if it is empty."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def box_iou(one: Box, two: Box) -> float:
    """Return intersection over union of two boxes."""
    across = max(0, min(one[2], two[2]) - max(one[0], two[0]))
    along = max(0, min(one[3], two[3]) - max(one[1], two[1]))
    both = across * along
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (one, two)]
    return both / (sum(areas) - both)


def largest_part(mask: Bools) -> Bools:
    """Return the largest part of a mask whose pixels touch at their sides."""
    left, best = mask.copy(), np.zeros_like(mask)
    while left.any():
        part = np.zeros_like(mask)
        part.flat[int(left.argmax())] = True
        while True:
            wider = np.pad(part, 1)
            wider = (
                wider[1:-1, 1:-1]
                | wider[:-2, 1:-1]
                | wider[2:, 1:-1]
                | wider[1:-1, :-2]
                | wider[1:-1, 2:]
            ) & left
            if (wider == part).all():
                break
            part = wider
        if part.sum() > best.sum():
            best = part
        left &= ~part
    return best


def _luminance(picture: Bytes) -> Floats:
    """Return (height, width), 0 to 255."""
    return np.asarray(picture @ LUMA, dtype=np.float64)


def _blurred(field: Floats) -> Floats:
    """Return a (height, width) field under the SSIM's window."""
    weights = np.exp(-(np.arange(-REACH, REACH + 1) ** 2) / (2 * SIGMA**2))
    weights /= weights.sum()
    for axis in (0, 1):
        border = [(REACH, REACH) if axis == one else (0, 0) for one in (0, 1)]
        padded = np.pad(field, border, mode="reflect")
        windows: Floats = np.lib.stride_tricks.sliding_window_view(padded, 2 * REACH + 1, axis)
        field = windows @ weights
    return field
