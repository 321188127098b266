import os
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from scumble.decoding import decode
from scumble.errors import ImageError

RNG = np.random.default_rng(3)
NOISE = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)
FORMATS: dict[str, dict[str, Any]] = {
    "png": {},
    "jpg": {"quality": 95},
    "webp": {"lossless": True},
    "tif": {"compression": "tiff_lzw"},
    "bmp": {},
    "gif": {},
    "ppm": {},
    "jp2": {},
}


def saved(image: Image.Image, path: Path, **how: Any) -> Path:
    image.save(path, **how)
    return path


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png_that_claims(path: Path, width: int, height: int) -> Path:
    """A few bytes of PNG whose header promises any size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def sentence(source: Any, **how: Any) -> str:
    """What is said when the source is refused: one line that ends in a full stop."""
    with pytest.raises(ImageError) as caught:
        decode(source, **how)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def array(source: Any, **how: Any) -> np.ndarray:
    return np.asarray(decode(source, **how).image)


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "bmp", "ppm"])
def test_lossless_formats_keep_each_pixel(tmp_path: Path, suffix: str):
    path = saved(Image.fromarray(NOISE), tmp_path / f"a.{suffix}", **FORMATS[suffix])
    decoded = decode(path)
    assert np.array_equal(np.asarray(decoded.image), NOISE)
    assert decoded.notes == ()


def test_the_name_does_not_decide_the_format(tmp_path: Path):
    path = saved(Image.fromarray(NOISE), tmp_path / "a.jpg", format="PNG")
    assert np.array_equal(array(path), NOISE)


class TestRefused:
    def test_missing(self, tmp_path: Path):
        text = sentence(tmp_path / "no.png")
        assert "no.png" in text
        assert "does not exist" in text

    def test_folder(self, tmp_path: Path):
        assert "is a folder" in sentence(tmp_path)

    def test_empty_path(self):
        assert "empty path" in sentence("")

    def test_path_that_no_file_can_have(self):
        assert "cannot be read" in sentence("a\0b.png")
        assert "cannot be read" in sentence("a" * 5000)

    def test_pipe_is_not_waited_for(self, tmp_path: Path):
        os.mkfifo(tmp_path / "pipe.png")
        assert "no plain file" in sentence(tmp_path / "pipe.png")

    def test_unreadable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = saved(Image.fromarray(NOISE), tmp_path / "a.png")

        def refuse(*_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert "check its permissions" in sentence(path)

    def test_empty_file(self, tmp_path: Path):
        (tmp_path / "a.png").touch()
        assert "is an empty file" in sentence(tmp_path / "a.png")

    @pytest.mark.parametrize(
        "content",
        [
            b"hello, I am a text\n" * 9,
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        ],
    )
    def test_no_picture(self, tmp_path: Path, content: bytes):
        (tmp_path / "a.png").write_bytes(content)
        assert "not a picture in a known format" in sentence(tmp_path / "a.png")

    def test_no_pixels(self, tmp_path: Path):
        assert "is empty (0x5 pixels)" in sentence(Image.new("RGB", (0, 5)))
        (tmp_path / "a.ppm").write_bytes(b"P6\n0 0\n255\n")
        sentence(tmp_path / "a.ppm")

    @pytest.mark.parametrize("suffix", FORMATS)
    @pytest.mark.parametrize("fill_in", [False, True])
    def test_cut_off(
        self, tmp_path: Path, suffix: str, fill_in: bool, monkeypatch: pytest.MonkeyPatch
    ):
        """Also where another library told Pillow to fill in what is missing."""
        monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", fill_in)
        whole = saved(Image.fromarray(NOISE), tmp_path / f"a.{suffix}", **FORMATS[suffix])
        data, path = whole.read_bytes(), tmp_path / f"cut.{suffix}"
        for share in (0.3, 0.6, 0.9):
            path.write_bytes(data[: int(len(data) * share)])
            text = sentence(path)
            assert "damaged or cut off" in text or "not a picture" in text
        assert ImageFile.LOAD_TRUNCATED_IMAGES is fill_in

    def test_cut_off_at_the_very_end(self, tmp_path: Path):
        """Either each pixel is there, or the file is refused."""
        whole = array(saved(Image.fromarray(NOISE), tmp_path / "a.jpg"))
        data, path = (tmp_path / "a.jpg").read_bytes(), tmp_path / "cut.jpg"
        for missing in range(1, 40):
            path.write_bytes(data[:-missing])
            try:
                assert np.array_equal(array(path), whole)
            except ImageError:
                continue

    @pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
    def test_several_frames(self, tmp_path: Path, suffix: str):
        frames = [Image.fromarray(np.roll(NOISE, step, axis=0)) for step in range(3)]
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        assert "several frames" in sentence(path)
        with Image.open(path) as opened:
            assert "several frames" in sentence(opened)

    @pytest.mark.parametrize("size", [(9_000, 8_000), (10_000, 10_000), (50_000, 50_000)])
    def test_bomb_before_decoding(
        self, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ):
        """Above our limit, above Pillow's warning, above Pillow's error."""
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("was decoded"))
        assert "64 megapixels" in sentence(png_that_claims(tmp_path / "a.png", *size))

    def test_limit_can_be_set(self, tmp_path: Path):
        path = saved(Image.fromarray(NOISE), tmp_path / "a.png")
        assert "0.001 megapixels" in sentence(path, max_megapixels=0.001)

    @pytest.mark.parametrize("size", [(33, 1), (1, 33)])
    def test_too_narrow(self, tmp_path: Path, size: tuple[int, int]):
        assert "1:32" in sentence(saved(Image.new("RGB", size), tmp_path / "a.png"))
        assert decode(Image.new("RGB", (32, 1))).image.size == (32, 1)

    def test_closed_image(self, tmp_path: Path):
        with Image.open(saved(Image.fromarray(NOISE), tmp_path / "a.png")) as opened:
            pass
        opened.close()
        sentence(opened)

    def test_mask_is_called_one(self, tmp_path: Path):
        assert sentence(tmp_path / "m.png", what="mask").startswith("mask ")

    def test_bomb_in_the_metadata(self, tmp_path: Path):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
        bomb = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * 5_000_000, 9))
        pixels = chunk(b"IDAT", zlib.compress(b"\0" * 13 * 4)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + bomb + pixels)
        assert "too large" in sentence(tmp_path / "a.png")


class TestDepth:
    def test_sixteen_bit_ramp_keeps_its_range(self, tmp_path: Path):
        ramp = np.linspace(0, 65535, 4096).round().astype(np.uint16).reshape(64, 64)
        decoded = decode(saved(Image.fromarray(ramp), tmp_path / "a.png"))
        grey = np.asarray(decoded.image)
        assert np.array_equal(grey[..., 0], np.rint(ramp / 257))
        assert (grey[..., 0].min(), grey[..., 0].max()) == (0, 255)
        assert np.array_equal(grey[..., 0], grey[..., 2])
        assert "0..65535" in decoded.notes[0]

    def test_dark_sixteen_bits_stay_dark(self, tmp_path: Path):
        dark = np.full((4, 4), 2570, dtype=np.uint16)
        assert (array(saved(Image.fromarray(dark), tmp_path / "a.tif")) == 10).all()

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 10.0, 255.0], [0, 10, 255]),
            ([-1.0, 0.0, 1.0], [0, 128, 255]),
            ([500.0, 500.0, 500.0], [255, 255, 255]),
        ],
    )
    def test_float(self, tmp_path: Path, values: list[float], expected: list[int]):
        decoded = decode(saved(Image.fromarray(np.array([values], np.float32)), tmp_path / "a.tif"))
        assert np.asarray(decoded.image)[0, :, 1].tolist() == expected
        assert "mode F scaled" in decoded.notes[0]

    def test_integers(self):
        assert array(Image.fromarray(np.array([[0, 65535]], np.int32)))[0, :, 0].tolist() == [
            0,
            255,
        ]
        wide = Image.fromarray(np.array([[-100_000, 0, 100_000]], np.int32))
        assert array(wide)[0, :, 0].tolist() == [0, 128, 255]

    def test_float_with_nan(self, tmp_path: Path):
        path = saved(Image.fromarray(np.array([[0, np.nan]], np.float32)), tmp_path / "a.tif")
        assert "NaN" in sentence(path)

    def test_sixteen_bit_colour_is_noted(self, tmp_path: Path):
        row = b"\0" + struct.pack(">6H", 65535, 32768, 0, 256, 512, 1024)
        header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        decoded = decode(tmp_path / "a.png")
        assert np.asarray(decoded.image).tolist() == [[[255, 128, 0], [1, 2, 4]]]
        assert decoded.notes == ("Colours reduced from 16 to 8 bits.",)


class TestModes:
    @pytest.mark.parametrize("mode", ["1", "L"])
    def test_grey(self, tmp_path: Path, mode: str):
        image = Image.fromarray(NOISE).convert(mode)
        decoded = decode(saved(image, tmp_path / "a.png"))
        assert np.array_equal(np.asarray(decoded.image), np.asarray(image.convert("RGB")))
        assert decoded.notes == ()

    def test_palette(self, tmp_path: Path):
        image = Image.fromarray(NOISE).quantize(16)
        path = saved(image, tmp_path / "a.png")
        assert np.array_equal(array(path), np.asarray(image.convert("RGB")))

    def test_palette_with_transparency(self, tmp_path: Path):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.putdata([0, 1])
        for transparency in (1, bytes([255, 0])):
            decoded = decode(saved(image, tmp_path / "a.png", transparency=transparency))
            assert np.asarray(decoded.image).tolist() == [[[10, 20, 30], [255, 255, 255]]]
            assert "filled with white" in decoded.notes[0]

    def test_alpha_over_white(self, tmp_path: Path):
        pixels = np.array(
            [[[9, 9, 9, 255], [0, 0, 0, 128], [0, 0, 0, 0], [255, 0, 0, 51]]], np.uint8
        )
        path = saved(Image.fromarray(pixels), tmp_path / "a.png")
        assert array(path).tolist() == [[[9] * 3, [127] * 3, [255] * 3, [255, 204, 204]]]
        assert array(path, background=0)[0, 2].tolist() == [0, 0, 0]
        assert "black" in decode(path, background=0).notes[0]

    def test_grey_with_alpha(self, tmp_path: Path):
        image = Image.new("LA", (2, 1), (50, 255))
        image.putpixel((1, 0), (50, 0))
        assert array(saved(image, tmp_path / "a.png"))[0, :, 0].tolist() == [50, 255]

    def test_full_alpha_changes_nothing(self, tmp_path: Path):
        decoded = decode(saved(Image.fromarray(NOISE).convert("RGBA"), tmp_path / "a.png"))
        assert np.array_equal(np.asarray(decoded.image), NOISE)
        assert decoded.notes == ()

    @pytest.mark.parametrize("suffix", ["jpg", "tif"])
    @pytest.mark.parametrize(
        ("ink", "seen"),
        [
            ((0, 0, 0, 0), (255, 255, 255)),
            ((0, 255, 255, 0), (255, 0, 0)),
            ((255, 0, 0, 0), (0, 255, 255)),
            ((0, 0, 0, 255), (0, 0, 0)),
        ],
    )
    def test_cmyk(self, tmp_path: Path, suffix: str, ink: tuple[int, ...], seen: tuple[int, ...]):
        path = saved(Image.new("CMYK", (32, 32), ink), tmp_path / f"a.{suffix}")
        if suffix == "jpg":
            assert b"Adobe" in path.read_bytes()
            assert Image.open(path).getpixel((9, 9)) == ink, "Adobe's inverted ink was turned back"
        decoded = decode(path)
        assert np.abs(np.asarray(decoded.image).astype(int) - seen).max() <= 2
        assert "CMYK" in decoded.notes[0]

    def test_first_of_a_multi_picture_jpeg(self, tmp_path: Path):
        flat = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
        flat[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=flat[1:])
        decoded = decode(tmp_path / "a.jpg")
        assert np.asarray(decoded.image)[0, 0, 0] > 250
        assert "MPO" in decoded.notes[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int):
    """What is stored is the upright picture turned back, as a camera stores it."""
    upright = np.kron(NOISE[:4, :5] // 32 * 32, np.ones((8, 8, 1), dtype=np.uint8))
    stored = {
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }.get(orientation, upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored))
    how: dict[str, Any] = {"exif": exif, **FORMATS[suffix]}
    if suffix == "jpg":
        how |= {"quality": 100, "subsampling": 0}
    decoded = decode(saved(image, tmp_path / f"a.{suffix}", **how))
    found = np.asarray(decoded.image).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= (6 if suffix == "jpg" else 0)
    if suffix != "tif":  # there Pillow turns it before we see it
        assert bool(decoded.notes) == (orientation != 1)


def test_unknown_orientation_is_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 9
    decoded = decode(saved(Image.fromarray(NOISE), tmp_path / "a.png", exif=exif))
    assert np.array_equal(np.asarray(decoded.image), NOISE)
    assert decoded.notes == ()


def test_damaged_exif_is_ignored(tmp_path: Path):
    path = saved(Image.fromarray(NOISE), tmp_path / "a.png", exif=b"Exif\0\0garbage, no TIFF")
    decoded = decode(path)
    assert np.array_equal(np.asarray(decoded.image), NOISE)
    assert decoded.notes == ("EXIF data could not be read and was ignored.",)


class TestProfiles:
    def srgb(self) -> bytes:
        return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    def with_red_and_green_exchanged(self) -> bytes:
        return (
            self.srgb()
            .replace(b"rXYZ", b"????")
            .replace(b"gXYZ", b"rXYZ")
            .replace(b"????", b"gXYZ")
        )

    def test_other_colours_become_srgb(self, tmp_path: Path):
        image = Image.new("RGB", (8, 8), (255, 0, 0))
        how = {"icc_profile": self.with_red_and_green_exchanged()}
        decoded = decode(saved(image, tmp_path / "a.png", **how))
        assert np.abs(np.asarray(decoded.image).astype(int) - (0, 255, 0)).max() <= 2
        assert "to sRGB" in decoded.notes[0]
        image.putalpha(0)
        assert (array(saved(image, tmp_path / "a.png", **how)) == 255).all()

    def test_srgb_keeps_each_pixel(self, tmp_path: Path):
        path = saved(Image.fromarray(NOISE), tmp_path / "a.png", icc_profile=self.srgb())
        decoded = decode(path)
        assert np.array_equal(np.asarray(decoded.image), NOISE)
        assert decoded.notes == ()

    def test_a_mask_has_no_colours(self, tmp_path: Path):
        how = {"icc_profile": self.with_red_and_green_exchanged()}
        path = saved(Image.fromarray(NOISE), tmp_path / "a.png", **how)
        assert np.array_equal(array(path, colour=False), NOISE)

    def test_damaged_profile_is_noted(self, tmp_path: Path):
        path = saved(Image.fromarray(NOISE), tmp_path / "a.png", icc_profile=b"no profile")
        decoded = decode(path)
        assert np.array_equal(np.asarray(decoded.image), NOISE)
        assert "ICC profile not applied" in decoded.notes[0]

    def test_profile_of_another_kind_is_noted(self, tmp_path: Path):
        image = Image.fromarray(NOISE).convert("L")
        decoded = decode(saved(image, tmp_path / "a.png", icc_profile=self.srgb()))
        assert np.array_equal(np.asarray(decoded.image)[..., 0], np.asarray(image))
        assert "it describes RGB, the picture is GRAY" in decoded.notes[0]
        image.putalpha(9)
        decoded = decode(saved(image, tmp_path / "b.png", icc_profile=self.srgb()))
        assert "the picture is GRAY" in decoded.notes[0]


def test_the_image_given_is_left_as_it_was(tmp_path: Path):
    image = Image.fromarray(NOISE).convert("RGBA")
    before = image.tobytes()
    decode(image)
    assert image.mode == "RGBA"
    assert image.tobytes() == before
    data = BytesIO(saved(image, tmp_path / "a.png").read_bytes())
    with Image.open(data) as opened:
        decode(opened)
        assert opened.tobytes() == before


def test_warning_filters_are_put_back(tmp_path: Path):
    before = list(warnings.filters)
    decode(Image.fromarray(NOISE))
    sentence(tmp_path)
    assert warnings.filters == before
