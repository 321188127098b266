"""Means over pictures, as the published table takes them: undefined rows are left out."""

import math
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Mean", "mean"]


class Mean(NamedTuple):
    """A mean over pictures.

    Attributes:
        value: NaN if it is the mean of nothing.
        rows: pictures that it is the mean of.
        undefined: pictures that were left out, because the metric is NaN for them.
    """

    value: float
    rows: int
    undefined: int


def mean(values: Iterable[float]) -> Mean:
    """The mean of the values that are numbers.

    An infinite one counts: the PSNR of an exact copy is infinite, and so is any mean with it.
    """
    every = list(values)
    kept = [value for value in every if not math.isnan(value)]
    average = math.fsum(kept) / len(kept) if kept else math.nan
    return Mean(average, len(kept), len(every) - len(kept))
