"""Pictures from prompts: the sheet that training leaves, and the prompts that quality samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from scumble_bench.rooms.dataset import Array

PROMPTS = (
    "a room with a green sofa, a lamp and a red carpet",
    "a sitting cat on a blue carpet",
    "a standing brown dog",
    "a jumping cat in a room",
    "a room with a yellow vase on a table",
    "a sketch of a room with a red sofa",
    "a red ball and a blue ball",
    "a room with a purple sofa and a yellow lamp at night",
    "a lying dog next to a white cat",
    "a room with a pink carpet and an orange sofa",
    "a black cat on a green sofa",
    "",
)


def generate(
    pipeline: Any, prompts: Sequence[str], *, steps: int = 50, batch: int = 25, seed: int = 0
) -> Array:
    """Samples a picture for each prompt with guidance 7.5: (n, 128, 128, 3) bytes."""
    pictures: list[Array] = []
    for start in range(0, len(prompts), batch):
        part = list(prompts[start : start + batch])
        makers = [torch.Generator().manual_seed(seed + start + row) for row in range(len(part))]
        shown: Any = pipeline(
            part,
            height=128,
            width=128,
            num_inference_steps=steps,
            guidance_scale=7.5,
            generator=makers,
            output_type="np",
        ).images
        pictures.append((np.asarray(shown) * 255).round().astype(np.uint8))
    return np.concatenate(pictures)


def save_sheet(pictures: Array, path: Path, columns: int = 6) -> None:
    """Writes pictures side by side as one PNG."""
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 4) + 4, columns * (width + 4) + 4, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top = 4 + number // columns * (height + 4)
        left = 4 + number % columns * (width + 4)
        sheet[top : top + height, left : left + width] = picture
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
