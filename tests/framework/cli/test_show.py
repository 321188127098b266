import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.recipes import write_picture

RECIPE = {
    "operation": "edit",
    "request": {
        "source": "a \x1b[31mred cat",
        "targets": ["one", "two"],
        "size": [64, 128],
        "negative": "",
        "options": {},
    },
    "seconds": None,
}


@pytest.fixture
def result(tmp_path: Path) -> Path:
    write_picture(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8), RECIPE)
    return tmp_path / "a.png"


def test_lines(scumble: Any, result: Path):
    done = scumble("show", result)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "operation  edit",
        "recipe     1",
        "request:",
        "  size     64 x 128",
        "  source   a \\x1b[31mred cat",
        "  targets  one",
        "           two",
    ]


def test_json(scumble: Any, result: Path):
    assert json.loads(scumble("show", result, "--json").out) == {**RECIPE, "recipe": 1}
    assert scumble("show", result, "--quiet").out == ""


def test_no_recipe(scumble: Any, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    scumble("show", tmp_path / "plain.png").refused("holds no recipe")
    scumble("show", tmp_path / "missing.png").refused("does not exist")
