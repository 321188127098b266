"""Gradients of losses on maps: against differences, against maps written out, and refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from scumble.engine import GUIDED, EngineSettings
from scumble.errors import ControlError, PortError
from scumble.models import find_checkpoint
from scumble.ports import neutral
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble.sites import Site
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.losses import AllSeenError, Losses

Ports = dict[str, Any]
Engines = Callable[..., TorchEngine]
TOKENS = 40


def asked(engine: TorchEngine, rng: np.random.Generator) -> Ports:
    """A gradient's ports: two words at the finest maps, with routes and a mix from the source."""
    sizes = engine.info.sizes((8, 8))
    tell = {
        "sample": rng.standard_normal((1, 4, 8, 8)),
        "timestep": np.array([700]),
        "text": rng.standard_normal((1, TOKENS, sizes.features)),
        "record.row": np.zeros(1, np.int64),
    }
    ports: Ports = {
        "sample": rng.standard_normal((1, 4, 8, 8)),
        "timestep": np.array([700]),
        "text": rng.standard_normal((1, TOKENS, sizes.features)),
        "source.text": tell["text"],
        **engine.step(tell).recorded,
        **neutral("route", sizes, 1, True),
        **neutral("mix", sizes, 1, True),
    }
    ports["route"][1:4, :2] = 1
    ports["mix.source"][0] = rng.random((TOKENS, TOKENS)) / TOKENS
    ports["mix.own"][0] = rng.random(TOKENS)
    ports["mix.row"][:] = 1
    ports["mix.sites"][::2] = 1
    gate = np.zeros(engine.info.sites.count("cross"))
    gate[list(engine.info.sites.select("cross", strides=(1,)))] = 1
    masks = np.zeros((1, 2, 8, 8))
    masks[0, 0, 2:5, 1:6] = masks[0, 1, 4:, 4:] = 1
    return {
        **ports,
        "loss.words": rng.random((1, 2, TOKENS)) * (rng.random((1, 2, TOKENS)) > 0.8),
        "loss.rest": rng.random((1, 2, TOKENS)),
        "loss.masks": masks,
        "loss.weights": np.array([[[2.5, 0.5], [0.0, -4.0]]]),
        "loss.sites": gate,
    }


def total(engine: TorchEngine, ports: Ports) -> float:
    return float((ports["loss.weights"] * engine.gradient(ports).losses).sum())


def test_it_is_the_derivative_of_the_loss(engines: Engines):
    engine = engines("fp64")
    rng = np.random.default_rng(3)
    ports = asked(engine, rng)
    found = engine.gradient(ports).latents
    for _ in range(3):
        way = rng.standard_normal(ports["sample"].shape)
        ahead, behind = (
            total(engine, {**ports, "sample": ports["sample"] + side * 1e-4 * way})
            for side in (1, -1)
        )
        assert (found * way).sum() == pytest.approx((ahead - behind) / 2e-4, rel=1e-5)


def test_the_maps_are_those_that_a_step_reads(engines: Engines, monkeypatch: pytest.MonkeyPatch):
    engine = engines("fp64")
    ports = asked(engine, np.random.default_rng(5))
    site = int(np.flatnonzero(ports["loss.sites"])[-1])
    ports["loss.sites"] = np.eye(len(ports["loss.sites"]))[site]
    weights = np.random.default_rng(6).random((2, 1, TOKENS))
    edited = {name: ports[name] for name in ports if not name.startswith("loss.")}
    read = {"read.weights": weights, "read.sites": ports["loss.sites"]}
    (wanted,) = engine.step({**edited, **read}).reads.values()
    maps: list[torch.Tensor] = []
    see = Losses.see

    def kept(self: Losses, where: Site, given: torch.Tensor) -> None:
        maps.append(given.detach())
        see(self, where, given)

    monkeypatch.setattr(Losses, "see", kept)
    engine.gradient(ports)
    found = maps[0].mean(1)[0].numpy() @ weights[0, 0]
    np.testing.assert_allclose(found.reshape(8, 8), wanted[0, 0], rtol=1e-10)


def test_heads_and_sites_are_averaged_after_their_ratios():
    """MAG-Edit, eq. 5 and 6, written out for two sites of two heads."""
    rng = np.random.default_rng(1)
    sites = [Site(i, f"site{i}", "cross", "down", 2, 8, 2) for i in range(2)]
    words, rest = rng.random((1, 1, 3)), rng.random((1, 1, 3))
    mask = np.zeros((1, 1, 4, 4))
    mask[0, 0, :2] = 1
    gate = torch.tensor([0.25, 0.75], dtype=torch.float64)
    given = [torch.from_numpy(array) for array in (words, rest, mask)]
    losses = Losses(given[0], given[1], given[2], gate, frozenset({0, 1}))
    token = space = 0.0
    for site in sites:
        maps = rng.random((1, 2, 4, 3))
        losses.see(site, torch.from_numpy(maps))
        for head in maps[0]:
            of_word, of_all = head @ words[0, 0], head @ rest[0, 0]
            rho = (of_word[:2] / of_all[:2]).mean()
            token += float(gate[site.index]) * (1 - rho) ** 2 / 2
            space += float(gate[site.index]) * of_word[:2].sum() / of_word.sum() / 2
    assert losses.seen is not None
    np.testing.assert_allclose(losses.seen.numpy(), [[[token, space]]], rtol=1e-12)
    with pytest.raises(AllSeenError):
        losses.end()


def test_what_lies_behind_the_last_map_is_not_run(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
):
    engine = engines("fp64")
    ports = asked(engine, np.random.default_rng(2))
    first = int(np.flatnonzero(ports["loss.sites"])[0])
    ports["loss.sites"] = np.eye(len(ports["loss.sites"]))[first]
    whole = engine.gradient(ports)

    def never(*_: Any) -> None:
        raise AssertionError("the decoder ran")

    monkeypatch.setattr(engine.parts.unet.up_blocks[-1], "forward", never)
    again = engine.gradient(ports)
    np.testing.assert_array_equal(again.latents, whole.latents)


def test_parameters_have_no_gradient_and_the_next_step_is_as_before(engines: Engines):
    engine = engines("fp32")
    ports = asked(engine, np.random.default_rng(2))
    plain = {name: ports[name] for name in ("sample", "timestep", "text")}
    before = engine.step(plain).noise
    engine.gradient(ports)
    assert all(p.grad is None and not p.requires_grad for p in engine.parts.unet.parameters())
    np.testing.assert_array_equal(engine.step(plain).noise, before)


def test_replaced_processors_are_an_error(engine: TorchEngine):
    ports = asked(engine, np.random.default_rng(2))
    first = next(m for n, m in engine.parts.unet.named_modules() if n.endswith("attn1"))
    first.set_processor(AttnProcessor2_0())
    with pytest.raises(ControlError, match="processors were replaced"):
        engine.gradient(ports)


def test_a_gradient_is_of_one_row_with_all_its_ports(engines: Engines):
    engine = engines("fp32")
    ports = asked(engine, np.random.default_rng(2))
    assert engine.supports(GUIDED)
    with pytest.raises(PortError, match="one row with loss, mix, replay, route"):
        engine.gradient({n: v for n, v in ports.items() if not n.startswith("loss.")})
    with pytest.raises(PortError, match="ask for a gradient"):
        engine.step(ports)


def test_the_probe_catches_a_gradient_that_does_not_see_the_words(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    session = Session(find_checkpoint(checkpoint), TorchEngine(EngineSettings(device="cpu")))
    require_effect(session, "loss")
    see = Losses.see
    monkeypatch.setattr(
        Losses, "see", lambda self, site, maps: see(self, site, torch.ones_like(maps) + 0 * maps)
    )
    with pytest.raises(ControlError, match=r"the loss ports .* have no effect"):
        require_effect(session, "loss")
