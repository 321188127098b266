"""Tiny random networks in the layouts of the published files, and an edit to measure."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

from scumble_bench.rooms.tokenizer import WINDOW, save_tokenizer

PROMPT = "a red sofa in a room"


class Edit(NamedTuple):
    """A picture, an edit of it that differs everywhere, and a mask with its border forced."""

    source: NDArray[np.uint8]
    edited: NDArray[np.uint8]
    mask: NDArray[np.bool_]


@pytest.fixture
def edit() -> Edit:
    """56 by 40 pixels, smooth and noisy, so that windows, filters and JPEG all have an effect."""
    random = np.random.default_rng(3)
    down, across = np.mgrid[0:56, 0:40]
    smooth = np.stack([down * 4, across * 6, 120 + 50 * np.sin(down / 5 + across / 7)], axis=-1)
    source = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
    changed = smooth[:, ::-1] * 0.7 + source * 0.3 + random.normal(0, 9, smooth.shape)
    mask = np.zeros((56, 40), bool)
    mask[10:30, 5:22] = True
    mask[[0, -1]] = mask[:, [0, -1]] = True
    return Edit(source, np.clip(changed, 0, 255).astype(np.uint8), mask)


def squeezenet_weights(seed: int) -> dict[str, Tensor]:
    """Random weights by the names and shapes of torchvision's file, the classifier included."""
    random = torch.Generator().manual_seed(seed)
    shapes = {"features.0": (64, 3, 3, 3), "classifier.1": (1000, 512, 1, 1)}
    fires = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128)}
    fires |= {9: (256, 48, 192), 10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    for number, (channels, squeezed, each) in fires.items():
        shapes[f"features.{number}.squeeze"] = (squeezed, channels, 1, 1)
        shapes[f"features.{number}.expand1x1"] = (each, squeezed, 1, 1)
        shapes[f"features.{number}.expand3x3"] = (each, squeezed, 3, 3)
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        spread = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        weights[f"{name}.weight"] = torch.randn(shape, generator=random) * spread
        weights[f"{name}.bias"] = torch.randn(shape[0], generator=random) * 0.1
    return weights


@pytest.fixture(scope="session")
def squeezenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lpips") / "squeezenet1_1-b8a52dc0.pth"
    torch.save(squeezenet_weights(5), path)
    return path


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two layers and pictures of 32 pixels, prepared as openai's folder says it."""
    folder = tmp_path_factory.mktemp("clip")
    save_tokenizer(folder, PROMPT.split())
    vocabulary = len(json.loads((folder / "vocab.json").read_text("utf-8")))
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    text = {
        **layers,
        "hidden_size": 12,
        "vocab_size": vocabulary,
        "max_position_embeddings": WINDOW,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }
    vision = {**layers, "hidden_size": 16, "image_size": 32, "patch_size": 8}
    torch.manual_seed(11)
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    CLIPModel(config).save_pretrained(folder)
    prepared = {
        "crop_size": 32,
        "do_center_crop": True,
        "do_normalize": True,
        "do_resize": True,
        "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "resample": 3,
        "size": 32,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(prepared))
    return folder


@pytest.fixture(scope="session")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT of two layers and two heads, of patches of 32 pixels and pictures of 224."""
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(13)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        image_size=224,
        patch_size=32,
        # Wider than usual: with 0.02 every key is nearly its bias, and every cosine nearly 1.
        initializer_range=0.3,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder
