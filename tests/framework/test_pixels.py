import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.pixels import described, digest, in_words, placement


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("source", [(1, 1), (1, 32), (33, 7), (480, 640), (640, 481), (128, 128)])
@pytest.mark.parametrize("size", [(8, 8), (128, 128), (64, 96), (512, 320), (512, 8)])
def test_parts_add_up(how, source, size):
    place = placement(source, size, how)
    (top, bottom), (left, right) = place.borders
    assert (top + place.inner[0] + bottom, left + place.inner[1] + right) == size
    assert min(top, bottom, left, right) >= 0
    assert abs(top - bottom) <= 1
    assert abs(left - right) <= 1
    for part, side in zip(place.box, source, strict=True):
        assert 0 <= part.start < part.stop <= side
        assert abs(part.start - (side - part.stop)) <= 1


def test_crop_keeps_proportions():
    place = placement((480, 640), (128, 128), "crop")
    assert place.box == (slice(0, 480), slice(80, 560))
    assert place.kept == (480, 480)
    assert place.inner == (128, 128)
    assert placement((480, 640), (64, 128), "crop").box == (slice(80, 400), slice(0, 640))


def test_pad_keeps_everything():
    place = placement((480, 640), (128, 128), "pad")
    assert place.box == (slice(0, 480), slice(0, 640))
    assert place.inner == (96, 128)
    assert place.borders == ((16, 16), (0, 0))


def test_stretch_keeps_everything():
    place = placement((480, 640), (64, 128), "stretch")
    assert place.kept == (480, 640)
    assert place.inner == (64, 128)


@pytest.mark.parametrize("size", [(0, 8), (100, 128), (-8, 8), (128, 12)])
def test_sizes_are_multiples_of_eight(size):
    with pytest.raises(OptionError, match="multiples of 8"):
        placement((4, 4), size, "crop")


def test_unknown_way_to_fit():
    with pytest.raises(OptionError, match="crop, pad, stretch"):
        placement((8, 8), (8, 8), "squeeze")  # type: ignore[arg-type]


def test_digest_knows_shape_and_kind():
    flat = np.zeros((2, 4, 3), dtype=np.uint8)
    assert digest(flat) == digest(np.asfortranarray(flat))
    assert digest(flat) != digest(flat.reshape(4, 2, 3))
    assert digest(flat) != digest(flat.astype(bool))


def test_words():
    assert in_words((480, 640)) == "640x480"
    assert described(np.zeros((2, 3))) == "float64 of shape (2, 3)"
    assert described([1]) == "list"
