"""Masks, against a decoder that goes pixel by pixel, as the published one does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scumble_bench.evaluation.run_lengths import SIZE, bordered, decode, encode


def plainly(lengths: list[int], height: int, width: int) -> list[list[int]]:
    """Each pixel on its own, by the definition; nothing of the module is used."""
    pairs = [(lengths[i], lengths[i + 1]) for i in range(0, len(lengths), 2)]
    return [
        [
            int(any(start <= row * width + column < start + length for start, length in pairs))
            for column in range(width)
        ]
        for row in range(height)
    ]


runs = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5)


@given(runs)
def test_it_decodes_as_the_definition_says(pairs: list[tuple[int, int]]):
    lengths = [number for pair in pairs for number in pair]
    assert decode(lengths, (6, 7)).astype(int).tolist() == plainly(lengths, 6, 7)


@pytest.mark.parametrize(
    ("lengths", "set_at"),
    [
        ([], []),
        ([0, 0], []),
        ([0, 1], [0]),
        ([41, 1], [41]),
        ([40, 99], [40, 41]),
        ([42, 5], []),
        ([99, 5], []),
        ([3, 2, 4, 3], [3, 4, 5, 6]),
        ([10, 2, 1, 2], [1, 2, 10, 11]),
    ],
)
def test_edges(lengths: list[int], set_at: list[int]):
    assert np.flatnonzero(decode(lengths, (6, 7))).tolist() == set_at


def test_the_published_size_is_the_default():
    assert decode([0, 1]).shape == SIZE == (512, 512)
    assert decode([512, 1])[1, 0], "starts count row by row"


@pytest.mark.parametrize(
    ("lengths", "said"),
    [([1], "1 numbers, and they go in pairs"), ([-1, 2], "-1"), ([1, -2], "-2")],
)
def test_what_cannot_be_read(lengths: list[int], said: str):
    with pytest.raises(ValueError, match=said):
        decode(lengths, (6, 7))


@given(st.lists(st.booleans(), min_size=42, max_size=42))
def test_what_is_encoded_is_decoded(bits: list[bool]):
    mask = np.array(bits).reshape(6, 7)
    lengths = encode(mask)
    assert (decode(lengths, (6, 7)) == mask).all()
    assert all(length > 0 for length in lengths[1::2])
    assert sum(lengths[1::2]) == mask.sum(), "runs that overlap"


def test_the_border_is_one_pixel_on_each_side():
    mask = np.zeros((5, 6), dtype=bool)
    mask[2, 3] = True
    made = bordered(mask)
    assert made.astype(int).tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 0, 0, 1, 0, 1],
        [1, 0, 0, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert mask.sum() == 1, "the mask given was changed"
