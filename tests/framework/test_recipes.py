import json
import os
import struct
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.errors import ImageError, OptionError
from scumble.recipes import MAX_CHUNK, MAX_TEXT, read_recipe, write_picture

PIXELS = np.random.default_rng(1).integers(0, 256, (16, 24, 3), dtype=np.uint8)
RECIPE: dict[str, Any] = {
    "target": "ein Teppich, 青い, \udcff",
    "seed": 2**63,
    "guidance": 7.1,
    "words": {"b": [1, None, True], "a": "x\0y"},
}


@pytest.fixture
def result(tmp_path: Path) -> Path:
    write_picture(tmp_path / "out.png", PIXELS, RECIPE)
    return tmp_path / "out.png"


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def holding(path: Path, data: bytes, kind: bytes = b"iTXt") -> Path:
    """A PNG with one chunk more, after its header."""
    plain = BytesIO()
    Image.fromarray(PIXELS).save(plain, "PNG")
    whole = plain.getvalue()
    path.write_bytes(whole[:33] + chunk(kind, data) + whole[33:])
    return path


def text(recipe: str) -> bytes:
    return b"scumble\0\0\0\0\0" + recipe.encode()


class TestWriting:
    def test_there_and_back(self, result: Path):
        assert read_recipe(result) == {**RECIPE, "recipe": 1}
        assert read_recipe(str(result)) == {**RECIPE, "recipe": 1}
        assert np.array_equal(np.asarray(Image.open(result)), PIXELS)
        assert os.listdir(result.parent) == ["out.png"]

    def test_what_was_read_can_be_written(self, result: Path):
        before = result.read_bytes()
        write_picture(result, PIXELS, read_recipe(result))
        assert result.read_bytes() == before

    def test_canonical(self, tmp_path: Path):
        write_picture(tmp_path / "a.png", PIXELS, {"b": 1, "a": [1.5, "é"]})
        write_picture(tmp_path / "b.PNG", PIXELS, {"a": (1.5, "é"), "b": 1})
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.PNG").read_bytes()
        with Image.open(tmp_path / "a.png") as image:
            assert image.info["scumble"] == '{"a":[1.5,"\\u00e9"],"b":1,"recipe":1}'

    def test_permissions_are_those_of_a_new_file(self, result: Path):
        (result.parent / "new").touch()
        assert result.stat().st_mode == (result.parent / "new").stat().st_mode

    @pytest.mark.parametrize("name", ["out.jpg", "out", ".png", "out.png.jpg"])
    def test_other_suffixes_are_refused(self, tmp_path: Path, name: str):
        with pytest.raises(OptionError, match=r"name it \.png"):
            write_picture(tmp_path / name, PIXELS, {})
        assert not os.listdir(tmp_path)

    def test_missing_folder(self, tmp_path: Path):
        with pytest.raises(OptionError, match="cannot be written"):
            write_picture(tmp_path / "no" / "out.png", PIXELS, {})
        assert not os.listdir(tmp_path)

    def test_path_that_no_file_can_have(self, tmp_path: Path):
        for name in ("a\0b.png", "a" * 300 + ".png"):
            with pytest.raises(OptionError, match="cannot be written"):
                write_picture(tmp_path / name, PIXELS, {})
        assert not os.listdir(tmp_path)

    def test_folder_in_the_way(self, tmp_path: Path):
        (tmp_path / "out.png").mkdir()
        with pytest.raises(OptionError, match="cannot be written"):
            write_picture(tmp_path / "out.png", PIXELS, {})
        assert os.listdir(tmp_path) == ["out.png"]

    @pytest.mark.parametrize("failing", ["fsync", "replace"])
    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
    def test_half_done_leaves_nothing(
        self,
        result: Path,
        monkeypatch: pytest.MonkeyPatch,
        failing: str,
        error: BaseException,
    ):
        before = result.read_bytes()

        def fail(*_: Any) -> None:
            raise error

        monkeypatch.setattr(os, failing, fail)
        expected = OptionError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            write_picture(result, PIXELS[:8], {})
        assert result.read_bytes() == before
        assert os.listdir(result.parent) == ["out.png"]

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32(1), {1, 2}, Path()])
    def test_what_json_cannot_hold(self, tmp_path: Path, value: Any):
        with pytest.raises(OptionError, match="cannot be written as JSON"):
            write_picture(tmp_path / "a.png", PIXELS, {"x": value})
        assert not os.listdir(tmp_path)

    def test_never_too_long_to_be_read(self, tmp_path: Path):
        spare = MAX_TEXT - len('{"recipe":1,"x":""}')
        write_picture(tmp_path / "a.png", PIXELS, {"x": "y" * spare})
        assert len(read_recipe(tmp_path / "a.png")["x"]) == spare
        with pytest.raises(OptionError, match="limit"):
            write_picture(tmp_path / "b.png", PIXELS, {"x": "y" * (spare + 1)})

    def test_format_is_not_the_callers(self, tmp_path: Path):
        with pytest.raises(OptionError, match="got 2"):
            write_picture(tmp_path / "a.png", PIXELS, {"recipe": 2})

    @pytest.mark.parametrize(
        "pixels", [PIXELS.astype(float), PIXELS[..., 0], PIXELS[:0], np.zeros((4, 4, 4), np.uint8)]
    )
    def test_other_pixels_are_refused(self, tmp_path: Path, pixels: np.ndarray):
        with pytest.raises(ImageError, match=r"\(h, w, 3\)"):
            write_picture(tmp_path / "a.png", pixels, {})


class TestReading:
    def test_saved_again_by_a_program_that_dropped_it(self, result: Path):
        with Image.open(result) as image:
            image.load()
        image.info.clear()
        image.save(result)
        with pytest.raises(ImageError, match=r"holds no recipe.*dropped"):
            read_recipe(result)

    def test_missing_folder_and_no_png(self, tmp_path: Path):
        with pytest.raises(ImageError, match="does not exist"):
            read_recipe(tmp_path / "no.png")
        with pytest.raises(ImageError, match="is no file"):
            read_recipe(tmp_path)
        Image.fromarray(PIXELS).save(tmp_path / "a.jpg")
        with pytest.raises(ImageError, match="is no PNG"):
            read_recipe(tmp_path / "a.jpg")
        (tmp_path / "empty.png").touch()
        with pytest.raises(ImageError, match="is no PNG"):
            read_recipe(tmp_path / "empty.png")

    def test_unreadable(self, result: Path, monkeypatch: pytest.MonkeyPatch):
        def refuse(*_: Any, **__: Any) -> Any:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(ImageError, match="Permission denied"):
            read_recipe(result)

    def test_cut_off_anywhere_is_an_error_or_the_recipe(self, result: Path):
        whole = result.read_bytes()
        end = whole.index(b"IDAT") - 4
        for length in (*range(0, len(whole), 11), *range(end - 9, end + 9)):
            result.write_bytes(whole[:length])
            if length < end:
                with pytest.raises(ImageError):
                    read_recipe(result)
            else:
                assert read_recipe(result)["guidance"] == 7.1

    def test_cut_off_without_recipe(self, tmp_path: Path):
        path = holding(tmp_path / "a.png", b"x", b"teXt")
        path.write_bytes(path.read_bytes()[:-12])
        with pytest.raises(ImageError, match="is cut off"):
            read_recipe(path)

    def test_changed_byte(self, result: Path):
        result.write_bytes(result.read_bytes().replace(b'"guidance":7.1', b'"guidance":9.1'))
        with pytest.raises(ImageError, match="checksum"):
            read_recipe(result)

    @pytest.mark.parametrize(
        "recipe",
        [
            "",
            "{",
            "[1]",
            "1",
            "null",
            "{}",
            '{"recipe":"1"}',
            '{"recipe":true}',
            '{"recipe":1.0}',
            '{"recipe":1,"x":NaN}',
            "[" * 100_000,
        ],
    )
    def test_no_recipe_in_the_json(self, tmp_path: Path, recipe: str):
        with pytest.raises(ImageError, match="is damaged"):
            read_recipe(holding(tmp_path / "a.png", text(recipe)))

    @pytest.mark.parametrize(
        "data", [b"scumble\0", b"scumble\0\0\0", b"scumble\0\0\0\0\0\xff\xfe{"]
    )
    def test_malformed_chunk(self, tmp_path: Path, data: bytes):
        with pytest.raises(ImageError, match="is damaged"):
            read_recipe(holding(tmp_path / "a.png", data))

    def test_short_chunks_before_it(self, tmp_path: Path):
        path = holding(tmp_path / "a.png", text('{"recipe":1}'))
        path = tmp_path / "a.png"
        whole = path.read_bytes()
        path.write_bytes(whole[:33] + chunk(b"iTXt", b"") + chunk(b"iTXt", b"scum") + whole[33:])
        assert read_recipe(path) == {"recipe": 1}

    def test_newer_format(self, tmp_path: Path):
        with pytest.raises(ImageError, match=r"format 2, .* reads 1; update"):
            read_recipe(holding(tmp_path / "a.png", text('{"recipe":2}')))

    def test_compressed_by_another_program(self, tmp_path: Path):
        packed = b"scumble\0\1\0\0\0" + zlib.compress(json.dumps(RECIPE | {"recipe": 1}).encode())
        assert read_recipe(holding(tmp_path / "a.png", packed))["seed"] == 2**63
        with pytest.raises(ImageError, match="damaged"):
            read_recipe(holding(tmp_path / "a.png", packed[:20] + b"??" + packed[22:]))

    def test_keyword_that_runs_into_the_checksum(self, tmp_path: Path):
        path = holding(tmp_path / "a.png", b"")
        whole = path.read_bytes()
        forged = struct.pack(">I", 7) + b"iTXtscumble" + bytes(4)
        path.write_bytes(whole[:33] + forged + whole[33:])
        with pytest.raises(ImageError, match="holds no recipe"):
            read_recipe(path)

    def test_bomb_is_not_unpacked(self, tmp_path: Path):
        packed = b"scumble\0\1\0\0\0" + zlib.compress(b" " * (32 << 20), 9)
        path = holding(tmp_path / "a.png", packed)
        tracemalloc.start()
        with pytest.raises(ImageError, match="limit"):
            read_recipe(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 << 20

    def test_bombs(self, tmp_path: Path):
        packed = b"scumble\0\1\0\0\0" + zlib.compress(b" " * (MAX_TEXT + 1), 9)
        with pytest.raises(ImageError, match="limit"):
            read_recipe(holding(tmp_path / "a.png", packed))
        with pytest.raises(ImageError, match="limit"):
            read_recipe(holding(tmp_path / "b.png", text(" " * (MAX_CHUNK - 11))))

    def test_pixels_are_not_decoded(self, tmp_path: Path):
        path = holding(tmp_path / "a.png", text('{"recipe":1}'))
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
        whole = path.read_bytes()
        path.write_bytes(whole[:8] + header + whole[33:])
        assert read_recipe(path) == {"recipe": 1}
