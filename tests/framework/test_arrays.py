"""The two checks that every array gets."""

import numpy as np
import pytest

from scumble.arrays import frozen, require_finite
from scumble.errors import NumericalError


def test_frozen_is_a_read_only_copy():
    given = np.arange(4.0)
    kept = frozen(given)
    given[0] = 9
    assert kept[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        kept[0] = 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_named(bad: float):
    with pytest.raises(NumericalError, match=r"^the noise holds 2 values that are not .* of 6;"):
        require_finite(np.array([[0, bad, 1], [2, 3, bad]]), "the noise")


def test_finite_passes():
    require_finite(np.zeros((0, 3)), "nothing")
    require_finite(np.array([1, 2]), "whole numbers")
