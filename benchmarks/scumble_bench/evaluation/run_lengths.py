"""PIE-Bench's masks: pairs of a start and a length, in rows, of 512x512 pixels."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIZE", "bordered", "decode", "encode"]

SIZE = (512, 512)
"""(height, width) in pixels of every mask of PIE-Bench."""

Bools: TypeAlias = NDArray[np.bool_]


def decode(lengths: Sequence[int], size: tuple[int, int] = SIZE) -> Bools:
    """Return the mask, (h, w) bool, without the border: True where the picture is to change.

    What reaches beyond the last pixel is cut off, as in the evaluation script of PnP Inversion.

    Args:
        lengths: start, length, start, length, ...; starts count pixels row by row.
        size: (height, width).

    Raises:
        ValueError: a start without a length, or a number below 0.
    """
    if len(lengths) % 2:
        raise ValueError(f"it has {len(lengths)} numbers, and they go in pairs")
    if any(number < 0 for number in lengths):
        raise ValueError(f"it has {min(lengths)}, and neither a start nor a length is below 0")
    flat = np.zeros(size[0] * size[1], dtype=bool)
    for start, length in zip(lengths[::2], lengths[1::2], strict=True):
        flat[start : start + length] = True
    return flat.reshape(size)


def encode(mask: Bools) -> list[int]:
    """Return the runs of a mask, (h, w) bool: start, length, start, length, ..."""
    edges = np.flatnonzero(np.diff(np.pad(mask.ravel(), 1).astype(np.int8)))
    return [int(n) for start, end in edges.reshape(-1, 2) for n in (start, end - start)]


def bordered(mask: Bools) -> Bools:
    """Return a mask with its outermost pixels True.

    PIE-Bench does so to every mask, against errors of annotation at the edge; so none is empty.
    """
    made = mask.copy()
    made[[0, -1], :] = True
    made[:, [0, -1]] = True
    return made
