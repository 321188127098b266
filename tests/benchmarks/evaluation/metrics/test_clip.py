"""CLIP similarity against a cosine by hand."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from scumble.errors import ModelError
from scumble_bench.evaluation.metrics.clip import Clip

PROMPT = "a red sofa"


def prepared(picture: NDArray[np.uint8]) -> Tensor:
    """Shorter side 32, the middle cut out, normalised: (1, 3, 32, 32)."""
    height, width = picture.shape[:2]
    tall, wide = (int(32 * height / width), 32) if width <= height else (32, 32 * width // height)
    small = np.asarray(Image.fromarray(picture).resize((wide, tall), Image.Resampling.BICUBIC))
    top, left = (tall - 32) // 2, (wide - 32) // 2
    middle = small[top : top + 32, left : left + 32].astype(np.float64) / 255
    mean = [0.48145466, 0.4578275, 0.40821073]
    std = [0.26862954, 0.26130258, 0.27577711]
    return torch.tensor(((middle - mean) / std).transpose(2, 0, 1)[None], dtype=torch.float32)


def by_hand(folder: Path, picture: NDArray[np.uint8], prompt: str) -> float:
    """100 times the cosine of what the two halves of CLIP make of a picture and a prompt."""
    model = CLIPModel.from_pretrained(folder).eval()
    ids = CLIPTokenizer.from_pretrained(folder)([prompt], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        seen = model.vision_model(pixel_values=prepared(picture)).pooler_output
        read = model.text_model(input_ids=ids).pooler_output
    one = (seen @ model.visual_projection.weight.T).detach().numpy()[0].astype(np.float64)
    two = (read @ model.text_projection.weight.T).detach().numpy()[0].astype(np.float64)
    return float(100 * one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def turned(folder: Path, target: Path) -> Path:
    """A copy of a CLIP folder whose pictures mean the opposite."""
    shutil.copytree(folder, target)
    weights = load_file(target / "model.safetensors")
    weights["visual_projection.weight"] = -weights["visual_projection.weight"]
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_it_is_a_hundred_times_the_cosine_and_never_negative(
    clip_folder: Path, tmp_path: Path, edit: Any
):
    folders = [clip_folder, turned(clip_folder, tmp_path / "turned")]
    wanted = [by_hand(folder, edit.edited, PROMPT) for folder in folders]
    assert wanted[0] == pytest.approx(-wanted[1])
    assert abs(wanted[0]) > 1
    for folder, value in zip(folders, wanted, strict=True):
        assert Clip(folder)(edit.edited, PROMPT) == pytest.approx(max(value, 0), abs=1e-3)


def test_it_depends_on_picture_and_prompt(clip_folder: Path, tmp_path: Path, edit: Any):
    folder = clip_folder
    if by_hand(folder, edit.edited, PROMPT) < 0:
        folder = turned(clip_folder, tmp_path / "turned")
    clip = Clip(folder)
    first = clip(edit.edited, PROMPT)
    assert first == clip(edit.edited, PROMPT) > 0
    assert clip(255 - edit.edited, PROMPT) != pytest.approx(first, abs=1e-3)
    assert clip(edit.edited, "room in a room") != pytest.approx(first, abs=1e-3)


def test_a_folder_that_will_not_do_is_named(clip_folder: Path, dino_folder: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="copy of openai/clip-vit-large-patch14"):
        Clip(tmp_path / "nowhere")
    bare = shutil.copytree(clip_folder, tmp_path / "bare")
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as a copy of openai/clip"):
        Clip(bare)


def test_the_window_of_the_test_is_shorter_than_its_longest_prompt(clip_folder: Path, edit: Any):
    """Torchmetrics cuts such a prompt and says so."""
    config = json.loads((clip_folder / "config.json").read_text("utf-8"))
    window = config["text_config"]["max_position_embeddings"]
    clip = Clip(clip_folder)
    with pytest.warns(UserWarning, match=f"longer than max_position_embeddings={window}"):
        clip(edit.edited, "room " * window)
