"""What the references are compared on: a small checkpoint with random weights, in fp64."""

from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import cast

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from scumble import Editor

write_checkpoint = run_path(str(Path(__file__).parents[1] / "tiny_checkpoint.py"))[
    "write_checkpoint"
]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def editor(folder: Path) -> Iterator[Editor]:
    with Editor.load(folder, "torch", precision="fp64", device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def unet(folder: Path) -> UNet2DConditionModel:
    loaded = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float64)
    return cast("UNet2DConditionModel", loaded).eval().requires_grad_(False)
