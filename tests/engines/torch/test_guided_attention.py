"""Attention on the way to a gradient: as that of a step, and alike however it is computed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention

from scumble.sites import Site
from scumble_engines.torch.attention import PortProcessor
from scumble_engines.torch.controls import ControlBus, Controls
from scumble_engines.torch.losses import Losses

CELLS, CHANNELS, TOKENS, WIDTH = 6, 8, 5, 7
SELF = Site(0, "b.attn1", "self", "down", 1, CHANNELS, 2)
CROSS = Site(0, "b.attn2", "cross", "down", 1, CHANNELS, 2)
Build = Callable[..., tuple[Attention, ControlBus]]


def attention(site: Site) -> tuple[Attention, ControlBus]:
    torch.manual_seed(5)
    bus = ControlBus()
    wide = None if site.kind == "self" else WIDTH
    # diffusers' annotation knows its own processors alone.
    processor: Any = PortProcessor(site, bus)
    made = Attention(CHANNELS, wide, heads=2, dim_head=4, processor=processor)
    return made.double().eval(), bus


def controls(**changed: Any) -> Controls:
    """A replayed source, every control in force."""
    rng = np.random.default_rng(2)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.random(shape))

    source = {f"source.{site.path}": drawn(1, CELLS, CHANNELS) for site in (SELF, CROSS)}
    given: dict[str, Any] = {
        "latent": (2, 3),
        "route": torch.tensor([[[1], [1], [0]]]),
        "mix_source": drawn(1, TOKENS, TOKENS),
        "mix_own": drawn(1, TOKENS),
        "mix_row": torch.tensor([1]),
        "mix_sites": torch.ones(1, 1, dtype=torch.float64),
        "source_text": drawn(1, TOKENS, WIDTH),
        "source": source,
    }
    return Controls(**given | changed)


def loss(sites: frozenset[int]) -> Losses:
    ones = torch.ones(1, 1, TOKENS, dtype=torch.float64)
    mask = torch.ones(1, 1, 2, 3, dtype=torch.float64)
    return Losses(ones, ones, mask, torch.ones(1, dtype=torch.float64), sites)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("rows", [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)])
def test_routes_are_those_of_a_step(rows: tuple[int, ...], fused: bool):
    module, bus = attention(SELF)
    hidden = torch.from_numpy(np.random.default_rng(1).random((1, CELLS, CHANNELS)))
    route = torch.tensor([[[row] for row in rows]])
    bus.controls = controls(route=route)
    wanted = module(hidden)
    bus.controls = controls(route=route, losses=loss(frozenset()), fused=fused)
    torch.testing.assert_close(module(hidden), wanted, rtol=1e-10, atol=1e-12)
    assert [what for what, _ in bus.controls.visited] == ["site", "replay", "route"]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("row", [0, 1])
def test_mixes_are_those_of_a_step(row: int, fused: bool):
    module, bus = attention(CROSS)
    rng = np.random.default_rng(1)
    hidden, text = (
        torch.from_numpy(rng.random((1, *shape))) for shape in ((CELLS, CHANNELS), (TOKENS, WIDTH))
    )
    mix_row = torch.tensor([row])
    bus.controls = controls(mix_row=mix_row)
    wanted = module(hidden, encoder_hidden_states=text)
    bus.controls = controls(mix_row=mix_row, losses=loss(frozenset()), fused=fused)
    found = module(hidden, encoder_hidden_states=text)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    # Where the loss sees the maps they are used, and give the same.
    bus.controls = controls(mix_row=mix_row, losses=loss(frozenset({0, 1})), fused=fused)
    seen = module(hidden, encoder_hidden_states=text)
    torch.testing.assert_close(seen, wanted, rtol=1e-10, atol=1e-12)
    assert ("loss", CROSS.path) in bus.controls.visited
