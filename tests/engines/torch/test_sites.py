"""Site tables: of the tiny UNet, and of the published families on the meta device."""

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any, cast

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from scumble.errors import ModelError
from scumble.sites import SiteTable
from scumble_engines.torch.sites import sites_of

DOWN, UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"

SD15: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (DOWN, DOWN, DOWN, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", UP, UP, UP),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
SD21: dict[str, Any] = {
    **SD15,
    "sample_size": 96,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SDXL: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", DOWN, DOWN),
    "up_block_types": (UP, UP, "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}


def on_meta(config: dict[str, Any]) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel(in_channels=4, out_channels=4, **config)


def by_block(table: SiteTable, kind: Any) -> list[tuple[str, int, int, int]]:
    """Of each site: (path of its transformer, stride, heads, width of a head)."""
    return [
        (
            site.path.split(".transformer_blocks")[0],
            site.stride,
            site.heads,
            site.channels // site.heads,
        )
        for site in table.of(kind)
    ]


def attentions(place: str, count: int) -> list[str]:
    return [f"{place}.attentions.{i}" for i in range(count)]


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_stable_diffusion_1(kind: Any):
    table = sites_of(on_meta(SD15))
    wanted = [
        *((p, 1, 8, 40) for p in attentions("down_blocks.0", 2)),
        *((p, 2, 8, 80) for p in attentions("down_blocks.1", 2)),
        *((p, 4, 8, 160) for p in attentions("down_blocks.2", 2)),
        ("mid_block.attentions.0", 8, 8, 160),
        *((p, 4, 8, 160) for p in attentions("up_blocks.1", 3)),
        *((p, 2, 8, 80) for p in attentions("up_blocks.2", 3)),
        *((p, 1, 8, 40) for p in attentions("up_blocks.3", 3)),
    ]
    assert by_block(table, kind) == wanted
    assert [site.index for site in table.of(kind)] == list(range(16))
    assert Counter(site.place for site in table.of(kind)) == {"down": 6, "mid": 1, "up": 9}
    assert table.native == (64, 64)
    assert table.map_stride == 4
    assert table.select("cross", places=("down", "up"), strides=(4,)) == (4, 5, 7, 8, 9)
    assert table.select("self", least_stride=4) == (4, 5, 6, 7, 8, 9)


def test_resnets_of_stable_diffusion_1_are_in_order():
    table = sites_of(on_meta(SD15))
    resnets = table.of("resnet")
    assert len(resnets) == 8 + 2 + 12
    places = [place for place, _ in groupby(site.place for site in resnets)]
    assert places == ["down", "mid", "up"]
    assert [s.stride for s in resnets] == (
        [1] * 2 + [2] * 2 + [4] * 2 + [8] * 2 + [8] * 2 + [8] * 3 + [4] * 3 + [2] * 3 + [1] * 3
    )
    assert resnets[13].path == "up_blocks.1.resnets.0"
    assert {site.heads for site in resnets} == {0}


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_stable_diffusion_xl(kind: Any):
    table = sites_of(on_meta(SDXL))

    def deep(place: str, count: int, depth: int, *shape: int) -> list[tuple[Any, ...]]:
        return [(path, *shape) for path in attentions(place, count) for _ in range(depth)]

    wanted = [
        *deep("down_blocks.1", 2, 2, 2, 10, 64),
        *deep("down_blocks.2", 2, 10, 4, 20, 64),
        *deep("mid_block", 1, 10, 4, 20, 64),
        *deep("up_blocks.0", 3, 10, 4, 20, 64),
        *deep("up_blocks.1", 3, 2, 2, 10, 64),
    ]
    assert len(wanted) == 70
    assert by_block(table, kind) == wanted
    assert table.map_stride == 4


def test_stable_diffusion_2():
    table = sites_of(on_meta(SD21))
    assert table.count("self") == table.count("cross") == 16
    assert [site.heads for site in table.of("self")] == (
        [5] * 2 + [10] * 2 + [20] * 2 + [20] + [20] * 3 + [10] * 3 + [5] * 3
    )
    assert {site.channels // site.heads for site in table.of("cross")} == {64}
    assert table.map_stride == 4


def test_the_tiny_unet(plain: Callable[..., UNet2DConditionModel]):
    table = sites_of(plain())
    assert [(s.place, s.stride, s.heads) for s in table.of("cross")] == [
        ("down", 1, 2),
        ("down", 2, 4),
        ("mid", 2, 4),
        ("up", 2, 4),
        ("up", 2, 4),
        ("up", 1, 2),
        ("up", 1, 2),
    ]
    assert table.map_stride == 2
    assert table.select("cross", places=("down", "up"), strides=(2,)) == (1, 3, 4)


def test_sizes_that_are_not_square():
    table = sites_of(on_meta({**SD15, "sample_size": (64, 96)}))
    assert table.native == (64, 96)
    assert table.map_stride == 4
    assert [site.grid((64, 96)) for site in table.of("self")[::6]] == [(64, 96), (8, 12), (32, 48)]
    assert table.of("self")[6].grid((9, 17)) == (2, 3)


def test_a_unet_without_attention_in_the_middle_is_counted():
    table = sites_of(on_meta({**SD15, "mid_block_type": "UNetMidBlock2D"}))
    assert table.count("cross") == 15


class Renamed(nn.Module):
    """Attention of a class that Scumble does not know."""


@pytest.mark.parametrize("path", ["attn1", "attn2"])
def test_a_tampered_unet_is_refused(plain: Callable[..., UNet2DConditionModel], path: str):
    unet = plain()
    block = cast("Any", unet.mid_block).attentions[0].transformer_blocks[0]
    setattr(block, path, Renamed())
    with pytest.raises(ModelError) as error:
        sites_of(unet)
    counts = "6 self- and 7" if path == "attn1" else "7 self- and 6"
    assert f"{counts} cross-attention sites; its configuration promises 7" in str(error.value)


def test_a_unet_with_a_block_too_many_is_refused(plain: Callable[..., UNet2DConditionModel]):
    unet = plain()
    blocks = cast("Any", unet.mid_block).attentions[0].transformer_blocks
    blocks.append(blocks[0].__class__(64, 4, 16, cross_attention_dim=32))
    with pytest.raises(ModelError, match="8 self- and 8 cross"):
        sites_of(unet)


def test_a_unet_without_text_is_refused():
    config = {
        **SD15,
        "down_block_types": ("DownBlock2D",) * 4,
        "up_block_types": ("UpBlock2D",) * 4,
    }
    with pytest.raises(ModelError, match="no cross-attention"):
        sites_of(on_meta({**config, "mid_block_type": "UNetMidBlock2D"}))
