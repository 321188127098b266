"""The parts of an edit that are measured."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.errors import OptionError
from scumble_bench.evaluation.metrics.pictures import frames, through_jpeg
from scumble_bench.evaluation.metrics.protocol import read_protocol

PLAIN = read_protocol("plain")


def test_kept_pixels_keep_their_place_in_a_full_frame(edit: Any):
    kept = frames(edit.source, edit.edited, edit.mask, PLAIN).kept()
    assert kept is not None
    for part, picture in zip(kept, (edit.source, edit.edited), strict=True):
        assert part.shape == picture.shape
        assert part.dtype == np.float32
        assert not part[edit.mask].any()
        np.testing.assert_allclose(part[~edit.mask], picture[~edit.mask] / 255, rtol=1e-6)


def test_changed_pixels_lie_in_black(edit: Any):
    changed = frames(edit.source, edit.edited, edit.mask, PLAIN).changed()
    assert changed is not None
    assert changed.dtype == np.uint8
    np.testing.assert_array_equal(changed[edit.mask], edit.edited[edit.mask])
    assert changed.shape == edit.edited.shape
    assert not changed[~edit.mask].any()


def test_a_mask_of_everything_or_nothing_leaves_a_part_out(
    edit: Any,
):
    everything = np.ones(edit.mask.shape, bool)
    assert frames(edit.source, edit.edited, everything, PLAIN).kept() is None
    assert frames(edit.source, edit.edited, ~everything, PLAIN).changed() is None
    assert frames(edit.source, edit.edited, everything, PLAIN).changed() is not None


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_of_bytes_means_what_one_of_bools_does(edit: Any, white: int):
    as_bytes = edit.mask.astype(np.uint8) * np.uint8(white)
    found = frames(edit.source, edit.edited, as_bytes, PLAIN)
    np.testing.assert_array_equal(found.mask, edit.mask)


def test_the_protocol_puts_the_edit_alone_through_jpeg(edit: Any, tmp_path: Path):
    """Pillow's own default is what the published script saved with."""
    found = frames(edit.source, edit.edited, edit.mask, read_protocol("jpeg-75"))
    Image.fromarray(edit.edited).save(tmp_path / "edited.jpg")
    np.testing.assert_array_equal(found.edited, np.asarray(Image.open(tmp_path / "edited.jpg")))
    assert (found.edited != edit.edited).any()
    np.testing.assert_array_equal(found.source, edit.source)
    np.testing.assert_array_equal(
        frames(edit.source, edit.edited, edit.mask, PLAIN).edited, edit.edited
    )


def test_jpeg_alone_is_as_jpeg_in_a_strip_but_for_one_column(edit: Any):
    """As the docstring says: blocks are 16 wide, and chroma is smoothed across their borders."""
    picture = edit.edited[:48, :32]
    strip = io.BytesIO()
    Image.fromarray(np.hstack([edit.source[:48, :32], picture])).save(strip, "JPEG", quality=75)
    panel = np.asarray(Image.open(strip))[:, 32:]
    alone = through_jpeg(picture, 75)
    np.testing.assert_array_equal(panel[:, 1:], alone[:, 1:])
    assert (panel[:, 0] != alone[:, 0]).any()


def test_what_cannot_be_measured_is_refused(edit: Any):
    source, edited, mask = edit
    with pytest.raises(OptionError, match="the edit to be measured is float64"):
        frames(source, edited / 255, mask, PLAIN)
    with pytest.raises(OptionError, match=r"the source to be measured .* shape \(56, 40\)"):
        frames(source[..., 0], edited, mask, PLAIN)
    with pytest.raises(OptionError, match="bring both to one size"):
        frames(source, edited[:50], mask, PLAIN)
    with pytest.raises(OptionError, match="no side may have fewer than 17"):
        frames(source[:16], edited[:16], mask[:16], PLAIN)
    with pytest.raises(OptionError, match=r"give bool or uint8 of shape \(56, 40\)"):
        frames(source, edited, mask.T, PLAIN)
    with pytest.raises(OptionError, match="the mask is float64"):
        frames(source, edited, mask.astype(float), PLAIN)
    grey = np.where(mask, np.uint8(255), np.uint8(1))
    grey[3, 3] = 0
    with pytest.raises(OptionError, match="the mask has 3 different values"):
        frames(source, edited, grey, PLAIN)
