import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.errors import ImageError
from scumble.images import fit, load_picture
from scumble.masks import (
    SOURCE_NAMES,
    load_mask,
    mask_name,
    mask_source,
    mask_to_latent,
    read_mask,
)

BOX = np.zeros((40, 56), dtype=bool)
BOX[10:30, 20:50] = True


def saved(path: Path, levels: np.ndarray) -> Path:
    Image.fromarray(levels).save(path)
    return path


class TestReading:
    def test_white_is_where_it_may_change(self, tmp_path: Path):
        path = saved(tmp_path / "m.png", np.where(BOX, 255, 0).astype(np.uint8))
        mask = read_mask(str(path), (40, 56))
        assert np.array_equal(mask.pixels, BOX)
        assert mask.pixels.dtype == bool
        assert mask.origin == str(path)
        assert mask.notes == ()
        assert mask.sha256 == read_mask(BOX, (40, 56)).sha256
        assert np.array_equal(load_mask(path, (40, 56)), BOX)

    @pytest.mark.parametrize("mode", ["1", "RGB", "P", "RGBA"])
    def test_any_mode(self, tmp_path: Path, mode: str):
        path = tmp_path / "m.png"
        Image.fromarray(BOX).convert(mode).save(path)
        assert np.array_equal(load_mask(path, (40, 56)), BOX)

    def test_arrays_and_images(self):
        levels = np.where(BOX, 255, 0).astype(np.uint8)
        sources = (BOX, levels, np.stack([levels] * 3, axis=-1), Image.fromarray(levels))
        for source in sources:
            assert np.array_equal(load_mask(source, (40, 56)), BOX)

    def test_strokes_on_nothing(self, tmp_path: Path):
        """Transparent is black: white strokes on an empty layer select the strokes."""
        layer = np.zeros((40, 56, 4), dtype=np.uint8)
        layer[..., :3] = 255
        layer[..., 3] = np.where(BOX, 255, 0)
        assert np.array_equal(load_mask(saved(tmp_path / "m.png", layer), (40, 56)), BOX)

    def test_grey(self, tmp_path: Path):
        levels = np.array([[0, 127, 128, 255]], np.uint8)
        mask = read_mask(saved(tmp_path / "m.png", levels), (1, 4))
        assert mask.pixels.tolist() == [[False, False, True, True]]
        assert "128 and above" in mask.notes[0]

    def test_another_size_names_both(self, tmp_path: Path):
        path = saved(tmp_path / "m.png", np.where(BOX, 255, 0).astype(np.uint8))
        with pytest.raises(ImageError, match=r"m\.png.*56x40 pixels and its picture 40x56"):
            read_mask(path, (56, 40))

    def test_empty_says_how_bright_it_was(self):
        with pytest.raises(ImageError, match="selects nothing, its brightest value is 1 of 255"):
            read_mask(BOX.astype(np.uint8), (40, 56))

    def test_full_is_noted(self):
        assert "whole picture" in read_mask(np.ones((8, 8), dtype=bool), (8, 8)).notes[0]

    @pytest.mark.parametrize(
        "array", [BOX.astype(float), BOX[..., None], BOX[0], np.zeros((8, 8, 4), np.uint8)]
    )
    def test_other_arrays_are_refused(self, array: np.ndarray):
        with pytest.raises(ImageError, match="a mask in memory is"):
            read_mask(array, (40, 56))

    def test_bad_file_is_called_a_mask(self, tmp_path: Path):
        with pytest.raises(ImageError, match=r"^mask .* does not exist"):
            read_mask(tmp_path / "no.png", (8, 8))


class TestFitting:
    @pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
    @pytest.mark.parametrize("size", [(40, 40), (80, 112), (64, 64), (24, 16)])
    def test_goes_where_its_picture_goes(self, how, size):
        """A picture that is white in the mask and black elsewhere lands on the same pixels."""
        picture = load_picture(np.where(BOX[..., None], 255, [0, 0, 0]).astype(np.uint8))
        shown = fit(picture, size, how).pixels[..., 0] >= 128
        assert (shown != load_mask(BOX, (40, 56), fitted=size, how=how)).mean() < 0.02

    def test_size_is_that_before_fitting(self):
        assert load_mask(BOX, (40, 56), fitted=(24, 24)).shape == (24, 24)
        with pytest.raises(ImageError, match="56x40 pixels and its picture 24x24"):
            load_mask(BOX, (24, 24), fitted=(24, 24))

    def test_padding_stays(self):
        full = np.ones((40, 56), dtype=bool)
        mask = load_mask(full, (40, 56), fitted=(56, 56), how="pad")
        assert mask[8:48].all()
        assert not mask[:8].any()
        assert not mask[48:].any()

    def test_cut_away(self):
        edge = np.zeros((40, 56), dtype=bool)
        edge[:, :8] = True
        with pytest.raises(ImageError, match="selects nothing in the 40x40 pixels kept"):
            load_mask(edge, (40, 56), fitted=(40, 40))

    def test_a_thin_line_survives(self):
        line = np.zeros((64, 64), dtype=bool)
        line[30] = True
        assert load_mask(line, (64, 64), fitted=(8, 8)).sum() == 8


class TestLatent:
    def test_half_covered_counts(self):
        mask = np.zeros((16, 16), dtype=bool)
        mask[:8, :8] = True
        mask[8:12, 8:] = True
        mask[:3, 8:] = True
        assert mask_to_latent(mask, (2, 2)).tolist() == [[True, False], [False, True]]

    def test_falls_back_to_what_is_touched(self):
        mask = np.zeros((16, 16), dtype=bool)
        mask[0, 15] = True
        assert mask_to_latent(mask, (2, 2)).tolist() == [[False, True], [False, False]]

    def test_empty_stays_empty(self):
        assert not mask_to_latent(np.zeros((16, 16), dtype=bool), (2, 2)).any()

    def test_ratios_need_not_be_whole(self):
        mask = np.zeros((3, 3), dtype=bool)
        mask[:, :2] = True
        assert mask_to_latent(mask, (2, 2)).tolist() == [[True, False], [True, False]]
        assert mask_to_latent(mask, (3, 3)).tolist() == mask.tolist()
        assert np.array_equal(mask_to_latent(mask, (6, 9)), np.kron(mask, np.ones((2, 3), bool)))


class TestNames:
    @pytest.mark.parametrize("name", ["", "sky", "the left one", "1"])
    def test_there_and_back(self, name: str):
        assert mask_name(mask_source(name)) == name
        assert re.fullmatch(SOURCE_NAMES, mask_source(name))

    def test_in_a_recipe(self):
        assert (mask_source(""), mask_source("sky")) == ("mask", "mask.sky")
        assert mask_name("image") is None
        assert mask_name("masks") is None

    @pytest.mark.parametrize("name", ["", "picture", "masks", "mask.", "mask.a.b", "image.sky"])
    def test_what_is_none(self, name: str):
        assert not re.fullmatch(SOURCE_NAMES, name)
