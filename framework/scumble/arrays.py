"""The array types that cross the host, and the two checks that every array gets."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from scumble.errors import NumericalError

__all__ = ["Array", "Bools", "Floats", "Indices", "frozen", "require_finite"]

Floats: TypeAlias = npt.NDArray[np.floating[Any]]
Indices: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]


def frozen(array: Array) -> Array:
    """Return a read-only copy, so that a plugin cannot change what another one reads."""
    copy = np.array(array)
    copy.setflags(write=False)
    return copy


def require_finite(array: Array, what: str) -> None:
    """Raise NumericalError, naming `what`, if the array holds NaN or Inf."""
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise NumericalError(
            f"{what} holds {bad} values that are not finite, of {array.size}; "
            "nothing was written: try precision fp32, or a lower guidance."
        )
