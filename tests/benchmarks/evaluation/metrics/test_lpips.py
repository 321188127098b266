"""LPIPS against a sum written out by hand, and its files."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scumble.errors import ModelError
from scumble_bench.evaluation.metrics.lpips import Lpips

CHANNELS = (64, 128, 256, 384, 384, 512, 512)


def layers(weights: dict[str, Tensor], picture: NDArray[np.float32]) -> list[Tensor]:
    """The seven outputs of SqueezeNet 1.1, from the weights by name, in float64."""

    def convolved(name: str, x: Tensor, **how: int) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.conv2d(x, weight.double(), bias.double(), **how).clamp(min=0)

    shift = torch.tensor([-0.030, -0.088, -0.188]).double()[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450]).double()[:, None, None]
    x = (torch.tensor(picture).double().permute(2, 0, 1) * 2 - 1 - shift) / scale
    x = convolved("features.0", x[None], stride=2)
    outputs = [x]
    for number in (3, 4, 6, 7, 9, 10, 11, 12):
        if number in (3, 6, 9):
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        squeezed = convolved(f"features.{number}.squeeze", x)
        wide = convolved(f"features.{number}.expand3x3", squeezed, padding=1)
        x = torch.cat([convolved(f"features.{number}.expand1x1", squeezed), wide], dim=1)
        if number not in (3, 6):
            outputs.append(x)
    return outputs


def by_hand(
    weights: dict[str, Tensor], lines: list[Tensor], pair: list[NDArray[np.float32]]
) -> float:
    total = 0.0
    for one, two, line in zip(*(layers(weights, part) for part in pair), lines, strict=True):
        one, two = (x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt() for x in (one, two))
        weighted = (one - two).square() * line.double().reshape(1, -1, 1, 1)
        total += float(weighted.sum(1).mean())
    return total


@pytest.fixture
def pair(edit: Any) -> list[NDArray[np.float32]]:
    return [part.astype(np.float32) / 255 for part in edit[:2]]


@pytest.fixture
def linear_file(tmp_path: Path) -> Path:
    random = torch.Generator().manual_seed(8)
    lines = {
        f"lin{number}.model.1.weight": torch.rand((1, count, 1, 1), generator=random)
        for number, count in enumerate(CHANNELS)
    }
    torch.save(lines, tmp_path / "squeeze.pth")
    return tmp_path / "squeeze.pth"


def test_it_is_the_sum_of_weighted_differences(
    squeezenet_file: Path, linear_file: Path, pair: list[NDArray[np.float32]]
):
    weights: dict[str, Tensor] = torch.load(squeezenet_file)
    lines = list(torch.load(linear_file).values())
    wanted = by_hand(weights, lines, pair)
    assert wanted > 0.01
    found = Lpips(squeezenet_file, linear=linear_file)(*pair)
    assert found == pytest.approx(wanted, rel=1e-4)


def test_the_linear_weights_are_the_published_ones_unless_others_are_given(
    squeezenet_file: Path, pair: list[NDArray[np.float32]]
):
    published = files("torchmetrics.functional.image") / "lpips_models" / "squeeze.pth"
    lines: dict[str, Tensor] = torch.load(Path(str(published)), map_location="cpu")
    in_order = [lines[f"lin{number}.model.1.weight"] for number in range(7)]
    wanted = by_hand(torch.load(squeezenet_file), in_order, pair)
    assert Lpips(squeezenet_file)(*pair) == pytest.approx(wanted, rel=1e-4)


def test_equal_pictures_have_no_distance(squeezenet_file: Path, pair: list[NDArray[np.float32]]):
    assert Lpips(squeezenet_file)(pair[0], pair[0]) == 0


def test_the_smallest_picture_has_a_distance(squeezenet_file: Path, edit: Any):
    small = [part[:17, :17].astype(np.float32) / 255 for part in edit[:2]]
    assert Lpips(squeezenet_file)(*small) > 0


def test_files_that_will_not_do_are_named(squeezenet_file: Path, linear_file: Path, tmp_path: Path):
    missing = tmp_path / "nowhere.pth"
    with pytest.raises(ModelError, match="there is no such file"):
        Lpips(missing)
    with pytest.raises(ModelError, match="there is no such file"):
        Lpips(squeezenet_file, linear=missing)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ModelError, match="torch cannot read it"):
        Lpips(tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="holds no weights by name"):
        Lpips(tmp_path / "list.pth")
    with pytest.raises(ModelError, match=r"not SqueezeNet 1\.1 as torchvision saves it: 50 "):
        Lpips(linear_file)
    with pytest.raises(ModelError, match="not the linear weights of LPIPS"):
        Lpips(squeezenet_file, linear=squeezenet_file)


@pytest.mark.parametrize("fault", ["absent", "shape", "more"])
def test_one_weight_that_does_not_fit_is_named(squeezenet_file: Path, tmp_path: Path, fault: str):
    weights: dict[str, Tensor] = torch.load(squeezenet_file)
    name = "features.13.weight" if fault == "more" else "features.9.squeeze.weight"
    weights.pop(name, None)
    if fault != "absent":
        weights[name] = torch.zeros(3)
    torch.save(weights, tmp_path / "wrong.pth")
    with pytest.raises(ModelError, match=f"1 weights are missing.*{name}"):
        Lpips(tmp_path / "wrong.pth")
