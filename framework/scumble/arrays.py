"""The array types that cross the host, and the two checks that every array gets."""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from scumble.errors import NumericalError

__all__ = ["Array", "Bools", "Floats", "Indices", "frozen", "read_only", "require_finite"]

Key = TypeVar("Key")

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Indices: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]


def frozen(array: Array) -> Array:
    """Return a read-only copy, so that a plugin cannot change what another one reads."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def read_only(arrays: Mapping[Key, Floats]) -> dict[Key, Floats]:
    """Return views of the arrays that cannot be written to; nothing is copied."""
    views: dict[Key, Floats] = {}
    for key, array in arrays.items():
        view = array.view()
        view.setflags(write=False)
        views[key] = view
    return views


def require_finite(array: Array, what: str) -> None:
    """Raise NumericalError, naming `what`, if the array holds NaN or Inf."""
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise NumericalError(
            f"{what} holds {bad} values that are not finite, of {array.size}; "
            "nothing was written: try precision fp32, or a lower guidance."
        )
