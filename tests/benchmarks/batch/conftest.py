"""Pictures, masks and a model for lists of edits; the engine is the one in numpy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.testing import fake_checkpoint

Install = Callable[..., Path]
WriteList = Callable[..., Path]


@pytest.fixture
def fake_engine(install: Install) -> None:
    """Have an engine `fake` installed."""
    install("fake-engine", {"scumble.engines": {"fake": "scumble.testing:FakeEngine"}})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model for it."""
    return fake_checkpoint(tmp_path / "model").folder


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """A folder for lists, with `cat.png`, `dog.png` and masks of them, `left.png`, `right.png`."""
    folder = tmp_path / "lists"
    folder.mkdir()
    for seed, name in enumerate(("cat.png", "dog.png")):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name)
    for name, sides in (("left.png", slice(0, 32)), ("right.png", slice(32, 64))):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, sides] = 255
        Image.fromarray(mask).save(folder / name)
    return folder


@pytest.fixture
def write_list(lists: Path) -> WriteList:
    """Write `list.jsonl` from fields, and return its path."""

    def write(*edits: dict[str, Any] | str) -> Path:
        path = lists / "list.jsonl"
        lines = [edit if isinstance(edit, str) else json.dumps(edit) for edit in edits]
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write


@pytest.fixture
def cat() -> dict[str, Any]:
    """Fields of an edit of the cat."""
    return {"picture": "cat.png", "source": "a red cat", "target": "a blue cat", "steps": 3}
