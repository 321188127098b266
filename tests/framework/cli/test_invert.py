import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from scumble.cli.invert import psnr
from scumble.recipes import read_recipe


@pytest.mark.thorough
def test_a_picture(scumble: Any, room: Path, out: Path, fast: list[str]):
    arguments = ["invert", room, "--source", "a red cat", *fast]
    done = scumble(*arguments, "--out", out / "a.png")
    assert done.code == 0
    assert " dB to the picture given\n" in done.out
    assert read_recipe(out / "a.png")["request"]["inversion"] == "ddim"
    done = scumble(*arguments, "--out", out / "b.png", "--inversion", "direct", "--json")
    told = json.loads(done.out)
    assert isinstance(told["psnr"], float)
    assert told["recipe"]["request"]["inversion"] == "direct"


def test_psnr():
    black, white = (Image.new("RGB", (8, 8), colour) for colour in ("black", "white"))
    run: Any = SimpleNamespace(source=black, image=white)
    assert psnr(run) == 0
    run.image = black
    assert psnr(run) is None
