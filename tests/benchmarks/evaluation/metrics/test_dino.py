"""The structure distance against loops over weights, tokens and pixels."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ViTModel

from scumble.errors import ModelError
from scumble_bench.evaluation.metrics.dino import Dino, scaled_size, self_similarity
from scumble_bench.evaluation.metrics.protocol import read_protocol

Doubles = NDArray[np.float64]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture
def square(edit: Any) -> list[NDArray[np.uint8]]:
    """Source and edit of 300 by 300 pixels, with detail that a low-pass filter takes away."""
    across = [np.tile(part[:50, :], (6, 8, 1))[:300, :300] for part in edit[:2]]
    return [np.ascontiguousarray(part) for part in across]


def in_between(picture: NDArray[np.uint8], size: int) -> Doubles:
    """A picture at another size, each pixel from its four neighbours and no filter."""
    axes = []
    for old in picture.shape[:2]:
        place = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
        low = np.floor(place).astype(int)
        axes.append((low, np.minimum(low + 1, old - 1), place - low))
    (top, bottom, down), (left, right, over) = axes
    values = picture.astype(np.float64)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    return rows[:, left] * (1 - over)[:, None] + rows[:, right] * over[:, None]


def filtered(picture: NDArray[np.uint8], size: int) -> Doubles:
    """A picture made smaller by Pillow, whose bilinear filter grows with the factor."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))
        for plane in picture.astype(np.float32).transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=-1).astype(np.float64)


def keys_by_hand(folder: Path, pixels: Doubles) -> Doubles:
    """Keys of the last attention of a picture of 224 pixels, from the weights by their names."""
    weights = load_file(folder / "model.safetensors")
    model = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
    normal = torch.tensor(((pixels - MEAN) / STD).transpose(2, 0, 1)[None], dtype=torch.float32)
    with torch.inference_mode():
        states = model(pixel_values=normal, output_hidden_states=True).hidden_states
    entering = states[1][0]  # after the first of two layers
    layer = "encoder.layer.1."
    centred = torch.nn.functional.layer_norm(
        entering,
        (16,),
        weights[f"{layer}layernorm_before.weight"],
        weights[f"{layer}layernorm_before.bias"],
        1e-12,
    )
    key = f"{layer}attention.attention.key."
    return (centred @ weights[f"{key}weight"].T + weights[f"{key}bias"]).double().numpy()


def distance_by_loops(one: Doubles, two: Doubles) -> float:
    count, total = len(one), 0.0
    for i in range(count):
        for j in range(count):
            cosines = [
                float(k[i] @ k[j]) / max(math.hypot(*k[i]) * math.hypot(*k[j]), 1e-8)
                for k in (one, two)
            ]
            total += (cosines[0] - cosines[1]) ** 2
    return total / count**2


@pytest.mark.parametrize("options", ["pie-bench", "plain", "dino-255", "dino-aliased"])
def test_it_is_the_error_between_two_tables_of_cosines(
    dino_folder: Path, square: list[NDArray[np.uint8]], options: str
):
    pixels = [
        (in_between if options in ("pie-bench", "dino-aliased") else filtered)(part, 224)
        / (1 if options in ("pie-bench", "dino-255") else 255)
        for part in square
    ]
    keys = [keys_by_hand(dino_folder, part) for part in pixels]
    assert keys[0].shape == (1 + 7 * 7, 16), "the class token and 49 patches, heads side by side"
    dino = Dino(dino_folder, read_protocol(options))
    np.testing.assert_allclose(dino.keys(square[0]).numpy(), keys[0], atol=2e-3)
    wanted = distance_by_loops(*keys)
    assert wanted > 1e-4
    assert dino(*square) == pytest.approx(wanted, rel=2e-3)


def test_the_quirks_are_seen(dino_folder: Path, square: list[NDArray[np.uint8]]):
    names = ("plain", "dino-255", "dino-aliased", "pie-bench")
    values = [Dino(dino_folder, read_protocol(name))(*square) for name in names]
    assert len({round(value, 5) for value in values}) == 4


def test_equal_pictures_have_no_distance(dino_folder: Path, square: list[NDArray[np.uint8]]):
    assert Dino(dino_folder, read_protocol("plain"))(square[0], square[0]) == 0


def test_pictures_need_not_be_square(dino_folder: Path, edit: Any):
    dino = Dino(dino_folder, read_protocol("plain"))
    assert dino.inputs(edit.source).shape == (1, 3, 313, 224)
    assert dino.keys(edit.source).shape == (1 + 9 * 7, 16)
    assert dino(edit.source, edit.edited) > 0


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((512, 512), (224, 224)),
        ((64, 64), (224, 224)),
        ((512, 768), (224, 336)),
        ((768, 512), (336, 224)),
        ((100, 300), (160, 480)),
        ((301, 100), (480, 159)),
    ],
)
def test_the_shorter_side_is_224_unless_the_longer_would_exceed_480(
    size: tuple[int, int], wanted: tuple[int, int]
):
    assert scaled_size(*size) == wanted


def test_a_key_of_zeros_has_cosine_zero():
    table = self_similarity(torch.tensor([[3.0, 4.0], [0.0, 0.0], [-6.0, -8.0]]))
    torch.testing.assert_close(
        table, torch.tensor([[1.0, 0.0, -1.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 1.0]])
    )


def test_nothing_is_left_hanging_on_the_model(
    dino_folder: Path, square: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
):
    dino = Dino(dino_folder, read_protocol("plain"))
    before = dino(*square)
    assert dino(*square) == before
    model: Any = dino._model
    assert not any(module._forward_hooks for module in model.modules())


def test_a_folder_that_will_not_do_is_named(dino_folder: Path, tmp_path: Path):
    plain = read_protocol("plain")
    with pytest.raises(ModelError, match=r"holds no config\.json.*copy of facebook/dino-vitb8"):
        Dino(tmp_path / "nowhere", plain)
    folder = shutil.copytree(dino_folder, tmp_path / "part")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.attention.attention.key.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="lacks 1 weights"):
        Dino(folder, plain)
