import numpy as np
import pytest
from PIL import Image, ImageFont

from scumble.errors import OptionError
from scumble.strips import strip, wrapped

RED = Image.new("RGB", (64, 64), (200, 0, 0))
BLUE = Image.new("RGB", (32, 48), (0, 0, 200))
FONT = ImageFont.load_default(13)


def dark(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 128


def test_panels_stand_side_by_side():
    sheet = np.asarray(strip([RED, BLUE], ["", ""], gap=8))
    assert sheet.shape == (8 + 64 + 8, 8 + 64 + 8 + 32 + 8, 3)
    assert np.array_equal(sheet[8:72, 8:72], np.asarray(RED))
    assert np.array_equal(sheet[8:56, 80:112], np.asarray(BLUE))
    outside = sheet.copy()
    outside[8:72, 8:72] = outside[8:56, 80:112] = 255
    assert (outside == 255).all()


def test_captions_stand_below_their_panel():
    light = [Image.new("RGB", (64, 64), "white")] * 2
    sheet = dark(strip(light, ["source", ""]))
    assert not sheet[:72].any()
    assert sheet[72:, :72].any()
    assert not sheet[:, 72:].any()


def test_captions_are_centred_and_their_lines_apart():
    sheet = dark(strip([Image.new("RGB", (101, 8), "white")], ["one\nH"], font_size=20, gap=8))
    columns = np.flatnonzero(sheet.any(axis=0))
    assert abs((columns[0] + columns[-1]) / 2 - (8 + 50)) <= 2
    rows = sheet.any(axis=1).astype(int)
    assert (np.diff(rows) == 1).sum() == 2


def test_long_captions_are_wrapped_inside_their_panel():
    label = "a sitting cat on a blue carpet, word swap, then aVeryLongWordWithoutAnyPlaceToBreak"
    sheet = dark(strip([Image.new("RGB", (96, 8), "white")] * 2, [label, ""], gap=8))
    assert sheet[:, 8:104].any()
    assert not sheet[:, :7].any()
    assert not sheet[:, 105:].any()
    assert not sheet[-2:].any()


@pytest.mark.parametrize("width", [1, 20, 60, 128, 1000])
def test_wrapping_loses_nothing(width: int):
    label = "a room with a red carpet\nthenOneVeryLongWord and é 青"
    lines = wrapped(label, FONT, width)
    assert "".join(lines).replace(" ", "") == "".join(label.split())
    assert all(FONT.getlength(line) <= width or len(line) == 1 for line in lines)


def test_words_stay_whole_where_they_can():
    assert wrapped("one two\nthree", FONT, 1000) == ["one two", "three"]
    assert wrapped("one two", FONT, int(FONT.getlength("one t"))) == ["one", "two"]
    assert wrapped("", FONT, 100) == []


def test_scale():
    sheet = strip([RED], ["x"], scale=2)
    assert sheet.width == 128 + 16
    assert np.array_equal(np.asarray(sheet)[8:136, 8:136], np.full((128, 128, 3), (200, 0, 0)))


def test_any_mode():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    sheet = np.asarray(strip([clear, RED.convert("L"), RED.convert("1")], ["", "", ""]))
    assert (sheet[8:24, 8:24] == 255).all()


def test_same_input_same_bytes():
    assert strip([RED], ["a b"]).tobytes() == strip([RED], ["a b"]).tobytes()


@pytest.mark.parametrize(("images", "labels"), [([], []), ([RED], []), ([RED], ["a", "b"])])
def test_one_label_for_each_image(images: list[Image.Image], labels: list[str]):
    with pytest.raises(OptionError, match="one label for each image"):
        strip(images, labels)


@pytest.mark.parametrize("bad", [{"scale": 0}, {"scale": 99}, {"font_size": 1}, {"gap": -1}])
def test_ranges(bad: dict[str, int]):
    with pytest.raises(OptionError, match=next(iter(bad))):
        strip([RED], ["a"], **bad)
