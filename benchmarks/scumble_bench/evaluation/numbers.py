"""Measured values in JSON, which knows neither NaN nor infinity."""

import math
from typing import TypeAlias

__all__ = ["Number", "as_json", "from_json"]

Number: TypeAlias = float | str | None
"""A value; None where there is none, `inf` or `-inf` where it is infinite."""


def as_json(value: float) -> Number:
    """Return what stands for a value."""
    if math.isnan(value):
        return None
    return repr(float(value)) if math.isinf(value) else float(value)


def from_json(number: Number) -> float:
    """Return the value that something stands for."""
    return math.nan if number is None else float(number)
