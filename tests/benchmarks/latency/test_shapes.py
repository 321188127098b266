from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from scumble import Editor
from scumble_bench.latency.shapes import DONE, SD15, write_shape
from scumble_engines.torch.sites import sites_of

# SD1.5's kinds of block at a fortieth of its width.
NARROW: dict[str, Any] = {
    **SD15, "sample_size": 8, "block_out_channels": (8, 16, 32, 32), "attention_head_dim": 2,
    "norm_num_groups": 4,
}  # fmt: skip


@pytest.mark.thorough
def test_the_unet_is_that_of_sd15():
    with torch.device("meta"):
        unet = UNet2DConditionModel(**SD15)
    # Of runwayml/stable-diffusion-v1-5, without its text encoder and autoencoder.
    assert sum(weight.numel() for weight in unet.parameters()) == 859_520_964
    sites = sites_of(unet)
    assert sites.count("self") == sites.count("cross") == 16
    assert sites.map_stride == 2
    assert {site.heads for site in sites if site.kind != "resnet"} == {8}


def test_the_folder_is_a_checkpoint_that_can_be_edited_with(tmp_path: Path):
    folder = write_shape(tmp_path / "shape", NARROW)
    with Editor.load(folder, engine="torch", device="cpu") as editor:
        assert editor.session.info.factor == 8
        assert (editor.session.info.tokens, editor.session.info.features) == (77, 768)
        run = editor.edit(None, source="a red sofa", target="a green sofa", steps=2)
        assert run.image.size == (64, 64)


def test_what_is_there_is_left_alone_and_what_is_half_made_is_made_anew(tmp_path: Path):
    folder = write_shape(tmp_path / "shape", NARROW)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(b"")
    write_shape(folder, NARROW)
    assert weights.read_bytes() == b""
    (folder / DONE).unlink()
    torch.manual_seed(2)
    write_shape(folder, NARROW)
    assert weights.read_bytes() == before, "weights are drawn from one seed"


def test_the_callers_random_numbers_are_not_used_up(tmp_path: Path):
    torch.manual_seed(1)
    wanted = torch.rand(1)
    torch.manual_seed(1)
    write_shape(tmp_path / "shape", NARROW)
    assert torch.rand(1) == wanted
