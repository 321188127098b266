"""Pictures from prompts: each has its own noise, and its own place on the sheet."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from scumble_bench.rooms.samples import generate, save_sheet


def pipeline(prompts: list[str], *, generator: list[torch.Generator], **rest: Any) -> Any:
    """Stands for a diffusers pipeline: pictures of the level that a row's generator draws."""
    assert len(prompts) == len(generator)
    levels = [float(torch.rand((), generator=maker)) for maker in generator]
    size = rest["height"], rest["width"], 3
    return SimpleNamespace(images=np.stack([np.full(size, level) for level in levels]))


def test_a_prompt_gets_the_same_noise_in_any_batch():
    prompts = [f"prompt {number}" for number in range(5)]
    once = generate(pipeline, prompts)
    assert once.shape == (5, 128, 128, 3)
    assert once.dtype == np.uint8
    assert len(np.unique(once)) == 5, "two prompts share their noise"
    assert np.array_equal(once, generate(pipeline, prompts, batch=2))
    assert not np.array_equal(once, generate(pipeline, prompts, seed=1))


def test_a_sheet_shows_pictures_in_rows(tmp_path: Path):
    pictures = np.stack([np.full((8, 10, 3), level, np.uint8) for level in (10, 20, 30)])
    save_sheet(pictures, tmp_path / "new" / "sheet.png", columns=2)
    with Image.open(tmp_path / "new" / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (2 * 12 + 4, 2 * 14 + 4, 3)
    assert (sheet[4:12, 4:14] == 10).all()
    assert (sheet[4:12, 18:28] == 20).all()
    assert (sheet[16:24, 4:14] == 30).all()
    assert (sheet[16:24, 18:28] == 255).all()
