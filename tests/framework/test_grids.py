"""Dilation, resizing and thresholding of small maps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scumble.grids import above_share_of_maximum, dilate, resize_nearest

FIELDS = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(0, 1)
)


def test_dilate():
    field = np.zeros((4, 5))
    field[1, 1] = 1
    field[3, 4] = 2
    expected = np.zeros((4, 5))
    expected[:3, :3] = 1
    expected[2:, 3:] = 2
    np.testing.assert_array_equal(dilate(field), expected)
    assert (dilate(-np.ones((2, 2))) == -1).all()


@given(FIELDS)
def test_dilate_is_the_maximum_of_the_neighbours(field: np.ndarray):
    found = dilate(field)
    for i, j in np.ndindex(field.shape):
        around = field[max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
        assert found[i, j] == around.max()


def test_resize():
    field = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(
        resize_nearest(field, (4, 6)), field.repeat(2, axis=0).repeat(2, axis=1)
    )
    np.testing.assert_array_equal(resize_nearest(field, (2, 3)), field)
    np.testing.assert_array_equal(resize_nearest(field, (1, 2)), [[0, 1]])
    assert resize_nearest(field, (5, 7)).shape == (5, 7)


def test_threshold():
    field = np.array([[0.0, 0.3], [0.6, 1.0]])
    assert above_share_of_maximum(field, 0.3).tolist() == [[False, False], [True, True]]
    assert above_share_of_maximum(field * 1e-30, 0.3).tolist() == [[False, False], [True, True]]
    assert above_share_of_maximum(field, 0).sum() == 3
    assert not above_share_of_maximum(field, 1).any()


def test_a_map_of_zeros_is_nowhere_above():
    found = above_share_of_maximum(np.zeros((2, 2)), 0)
    assert found.dtype == bool
    assert not found.any()
