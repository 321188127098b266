from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble.errors import ImageError, NumericalError, OptionError
from scumble.images import (
    Picture,
    fit,
    from_model,
    load_picture,
    masks_by_name,
    to_model,
)

NOISE = np.random.default_rng(5).integers(0, 256, (40, 56, 3), dtype=np.uint8)
LEVELS = np.arange(256, dtype=np.uint8)


class TestPicture:
    def test_file_image_and_array_are_the_same(self, tmp_path: Path):
        path = tmp_path / "a.png"
        Image.fromarray(NOISE).save(path)
        from_file = load_picture(path)
        assert np.array_equal(from_file.pixels, NOISE)
        assert from_file.origin == str(path)
        assert load_picture(str(path)) == from_file
        for other in (load_picture(NOISE), load_picture(Image.fromarray(NOISE))):
            assert other.sha256 == from_file.sha256
            assert other.origin is None

    def test_origin_is_what_the_user_gave(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        Image.fromarray(NOISE).save("a.png")
        assert load_picture("./a.png").origin == "./a.png"

    def test_pixels_are_nobody_elses(self):
        mine = NOISE.copy()
        picture = load_picture(mine)
        mine[:] = 0
        assert np.array_equal(picture.pixels, NOISE)
        with pytest.raises(ValueError, match="read-only"):
            picture.pixels[0] = 0

    def test_size_is_height_first(self):
        assert load_picture(NOISE).size == (40, 56)
        assert load_picture(NOISE).image.size == (56, 40)

    def test_shape_counts(self):
        wide, tall = np.zeros((4, 8, 3), np.uint8), np.zeros((8, 4, 3), np.uint8)
        assert load_picture(wide).sha256 != load_picture(tall).sha256
        assert load_picture(wide) != load_picture(tall)

    def test_notes_come_along(self):
        picture = load_picture(Image.new("CMYK", (4, 4)))
        assert picture.notes == ("CMYK converted to RGB.",)

    @pytest.mark.parametrize(
        "array",
        [
            np.zeros((4, 4, 3)),
            np.zeros((4, 4), np.uint8),
            np.zeros((4, 4, 4), np.uint8),
            np.zeros((1, 4, 4, 3), np.uint8),
        ],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray):
        with pytest.raises(ImageError, match=r"uint8 of shape \(h, w, 3\); got"):
            load_picture(array)

    def test_what_is_no_picture_at_all(self):
        with pytest.raises(ImageError, match="got NoneType"):
            load_picture(None)  # type: ignore[arg-type]

    def test_limits_hold_for_arrays(self):
        with pytest.raises(ImageError, match="empty"):
            load_picture(np.zeros((0, 4, 3), np.uint8))
        with pytest.raises(ImageError, match="1:32"):
            load_picture(np.zeros((1, 40, 3), np.uint8))
        with pytest.raises(ImageError, match="megapixels"):
            load_picture(NOISE, max_megapixels=0.001)


class TestFit:
    def test_nothing_to_do(self):
        picture = load_picture(NOISE)
        for how in ("crop", "pad", "stretch"):
            assert fit(picture, (40, 56), how) is picture

    def test_pure_crop_keeps_pixels(self):
        fitted = fit(load_picture(NOISE), (40, 40))
        assert np.array_equal(fitted.pixels, NOISE[:, 8:48])
        assert fitted.notes == ("Fitted from 56x40 to 40x40 pixels, cropped to its centre.",)

    def test_pad_repeats_the_edge(self):
        fitted = fit(load_picture(NOISE), (56, 56), "pad")
        assert np.array_equal(fitted.pixels[8:48], NOISE)
        assert np.array_equal(fitted.pixels[:8], np.repeat(NOISE[:1], 8, axis=0))

    def test_lanczos(self):
        fitted = fit(load_picture(NOISE), (80, 112), "stretch")
        expected = Image.fromarray(NOISE).resize((112, 80), Image.Resampling.LANCZOS)
        assert np.array_equal(fitted.pixels, np.asarray(expected))

    def test_earlier_notes_and_origin_stay(self):
        fitted = fit(Picture(NOISE, "a.png", ("One.",)), (8, 16))
        assert fitted.origin == "a.png"
        assert fitted.notes[0] == "One."
        assert fitted.size == (8, 16)

    def test_bad_size(self):
        with pytest.raises(OptionError, match="100x8"):
            fit(load_picture(NOISE), (8, 100))


class TestModel:
    def test_there_and_back(self):
        pixels = np.stack([LEVELS.reshape(16, 16)] * 3, axis=-1)
        values = to_model(pixels)
        assert values.shape == (1, 3, 16, 16)
        assert values.dtype == np.float32
        assert values.flags.c_contiguous
        assert values.flags.writeable
        assert (values.min(), values.max()) == (-1, 1)
        assert np.array_equal(from_model(values), pixels)
        assert np.array_equal(from_model(values.astype(np.float64)), pixels)

    def test_axes(self):
        assert np.array_equal(to_model(NOISE)[0, 2], NOISE[..., 2] / np.float32(127.5) - 1)

    def test_rounds(self):
        values = np.full((1, 3, 8, 8), 99.7 / 127.5 - 1)
        assert (from_model(values) == 100).all()

    def test_clips(self):
        values = np.stack([np.full((8, 8), level) for level in (-1.5, 0, 1e30)])[None]
        assert from_model(values)[0, 0].tolist() == [0, 128, 255]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_never_a_black_picture(self, bad: float):
        values = np.zeros((1, 3, 8, 8), dtype=np.float32)
        values[0, 1, 2, 3] = bad
        with pytest.raises(NumericalError, match="1 of 192"):
            from_model(values)

    @pytest.mark.parametrize("shape", [(3, 8, 8), (2, 3, 8, 8), (1, 4, 8, 8)])
    def test_other_shapes_are_refused(self, shape: tuple[int, ...]):
        with pytest.raises(ImageError, match=r"\(1, 3, h, w\)"):
            from_model(np.zeros(shape))
        with pytest.raises(ImageError, match=r"\(h, w, 3\)"):
            to_model(np.zeros(shape))  # type: ignore[arg-type]


class TestMasksByName:
    def test_one_has_no_name(self):
        assert masks_by_name("m.png") == {"": "m.png"}
        assert masks_by_name(None) == {}
        (only,) = masks_by_name(NOISE).items()
        assert only == ("", NOISE)

    def test_several_are_copied(self):
        given = {"sky": "a.png", "": "b.png"}
        found = masks_by_name(given)
        assert found == given
        given["sea"] = "c.png"
        assert set(found) == {"sky", ""}

    def test_a_name_that_a_recipe_could_not_hold(self):
        with pytest.raises(OptionError, match=r"a mask is named 'a\.b'; a name has no dot"):
            masks_by_name({"sky": "a.png", "a.b": "b.png"})
