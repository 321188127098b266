import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.recipes import read_recipe

pytestmark = pytest.mark.thorough

KINDS = ("heat", "mask", "overlay")


def test_of_a_picture(scumble: Any, room: Path, out: Path, fast: list[str]):
    words = ["--word", "cat", "--word", "red cat"]
    arguments = ["maps", room, "--prompt", "a red cat", *words, *fast, "--threshold", "1"]
    done = scumble(*arguments, "--out", out / "maps", "--json")
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["images"] == []
    assert told["recipe"]["request"]["inversion"] == "direct"
    assert set(told["maps"]) == {"cat", "red cat"}
    names = [f"{word}-{kind}.png" for word in ("cat", "red-cat") for kind in KINDS]
    assert sorted(os.listdir(out / "maps")) == sorted(names)
    images = {name: np.asarray(Image.open(out / "maps" / name)) for name in names}
    assert len({image.shape[:2] for image in images.values()}) == 1
    assert not images["cat-mask.png"].any()  # nothing lies above the maximum
    assert not np.array_equal(images["cat-heat.png"], images["cat-overlay.png"])


def test_of_a_generation_every_word(scumble: Any, out: Path, fast: list[str]):
    done = scumble("maps", "--prompt", "a red cat", *fast, "--out", out)
    assert (done.code, done.err) == (0, "")
    names = [f"{word}-{kind}.png" for word in ("a", "cat", "red") for kind in KINDS]
    assert sorted(os.listdir(out)) == sorted([*names, "picture.png"])
    assert read_recipe(out / "picture.png")["operation"] == "generate"
    assert (np.asarray(Image.open(out / "cat-mask.png")) == 255).any()
    assert f"wrote    {out / 'picture.png'}" in done.out


def test_a_folder_in_the_way(scumble: Any, room: Path, out: Path, fast: list[str]):
    (out / "cat-heat.png").mkdir()
    arguments = ["maps", room, "--prompt", "a cat", "--word", "cat", *fast, "--out", out]
    scumble(*arguments).refused("cat-heat.png', which is a folder")
    assert os.listdir(out) == ["cat-heat.png"]
