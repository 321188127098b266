"""Small maps on the latent's grid: dilation, resizing and thresholding, exact and free of NaN."""

import numpy as np

from scumble.arrays import Bools, Floats

__all__ = ["above_share_of_maximum", "dilate", "resize_nearest"]


def dilate(field: Floats) -> Floats:
    """Return the maximum over each cell's 3x3 neighbourhood, (height, width)."""
    padded = np.pad(field, 1, constant_values=-np.inf)
    height, width = field.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.maximum.reduce(shifted)


def resize_nearest(field: Floats, size: tuple[int, int]) -> Floats:
    """Return the field at (height, width), each cell taken from where its corner falls."""
    rows = np.arange(size[0]) * field.shape[0] // size[0]
    columns = np.arange(size[1]) * field.shape[1] // size[1]
    return field[rows][:, columns]


def above_share_of_maximum(field: Floats, share: float) -> Bools:
    """Return where the field exceeds a share of its maximum; nowhere if it is zero throughout."""
    top = float(field.max())
    return field > share * top if top > 0 else np.zeros(field.shape, dtype=bool)
