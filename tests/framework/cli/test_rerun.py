import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.cli.rerun import compared
from scumble.recipes import read_recipe, write_picture


@pytest.fixture
def result(scumble: Any, room: Path, out: Path, fast: list[str]) -> Path:
    """The second of two results of an edit."""
    targets = ["--target", "a blue cat", "--target", "a red dog"]
    made = scumble("edit", room, "--source", "a red cat", *targets, "--out", out / "a.png", *fast)
    assert made.code == 0, made.err
    return out / "a-2.png"


@pytest.mark.thorough
class TestRerun:
    def test_bit_for_bit(self, scumble: Any, result: Path, out: Path):
        done = scumble("rerun", result, "--out", out / "b.png")
        assert done.code == 0, done.err
        assert "result   bit-identical to FILE\n" in done.out
        first, again = (np.asarray(Image.open(p)) for p in (result, out / "b.png"))
        assert np.array_equal(first, again)
        assert read_recipe(out / "b.png") == read_recipe(result)

    def test_another_picture_than_before(self, scumble: Any, result: Path, out: Path):
        pixels = np.asarray(Image.open(result)).copy()
        pixels[0, 0] ^= 4
        write_picture(result, pixels, read_recipe(result))
        done = scumble("rerun", result, "--out", out / "b.png", "--json")
        assert json.loads(done.out)["identical"] is False

    def test_a_source_that_has_moved(self, scumble: Any, result: Path, room: Path, out: Path):
        shutil.move(room, out / "moved.png")
        scumble("rerun", result, "--out", out / "b.png").refused("is gone; give image=")
        again = ["rerun", result, "--out", out / "b.png", "--image"]
        assert scumble(*again, out / "moved.png", "-q").code == 0
        Image.new("RGB", (160, 120)).save(out / "other.png")
        (out / "b.png").unlink()
        scumble(*again, out / "other.png").refused("was another one")
        scumble(*again, out / "missing.png").refused("missing.png")
        assert not (out / "b.png").exists()

    @pytest.mark.parametrize(
        ("change", "because"),
        [
            ({"operation": "delete"}, "operation"),
            ({"request": 3, "result": 0}, "request"),
            ({"request": {}, "result": 0}, "source"),
            ({"model": {"nope": 1}}, "nope"),
            ({"sources": {"image": {}}}, "sources.image.path"),
            ({"provenance": {}}, "other weights"),
            ({"result": 2}, "result 2 of 2"),
            ({"result": "x"}, "result 'x' of 2"),
        ],
    )
    def test_a_recipe_that_was_tampered_with(
        self, scumble: Any, result: Path, out: Path, change: dict[str, Any], because: str
    ):
        pixels = np.asarray(Image.open(result))
        write_picture(result, pixels, {**read_recipe(result), **change})
        scumble("rerun", result, "--out", out / "b.png").refused(because)
        assert not (out / "b.png").exists()


@pytest.mark.usefixtures("no_model")
def test_refused_at_once(scumble: Any, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    scumble("rerun", tmp_path / "a.png", "--out", tmp_path / "b.png").refused("no recipe")
    scumble("rerun", tmp_path / "a.png", "--out", tmp_path / "a.png").refused("that is read")
    write_picture(tmp_path / "empty.png", np.zeros((8, 8, 3), np.uint8), {})
    scumble("rerun", tmp_path / "empty.png", "--out", tmp_path / "b.png").refused("operation")
    assert sorted(os.listdir(tmp_path)) == ["a.png", "empty.png"]


def test_comparisons():
    grey = np.full((4, 4, 3), 100, np.uint8)
    other = grey.copy()
    other[0, 0, 1] = 90
    assert compared(grey, grey)[0]
    assert compared(grey, other) == (
        False,
        "not bit-identical: 6.2% of the pixels differ, by 10 of 255 at most",
    )
    assert compared(grey, grey[:2])[1].endswith("has another size")
