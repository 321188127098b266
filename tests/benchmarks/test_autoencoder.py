from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scumble_bench.rooms.autoencoder import (
    COLOUR_DECAY,
    COLOUR_WEIGHT,
    AutoencoderLosses,
    picture_loss,
    psnr,
)
from scumble_bench.rooms.batches import Shelf
from scumble_bench.rooms.dataset import SceneCache


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Eight pictures, no two of their cells alike."""
    cache = SceneCache(tmp_path, 8)
    cells = np.random.default_rng(3).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    cache.array("images")[:] = cells.repeat(8, axis=1).repeat(8, axis=2)
    (cache.marks / "0").touch()
    shelf = Shelf(cache, torch.device("cpu"), ("images",))
    shelf.refresh()
    return shelf


class Colours(torch.nn.Module):
    """An autoencoder whose first three latents are the cells' colours, moved and scaled."""

    def __init__(self, off: float) -> None:
        super().__init__()
        self.off = off
        self.quant_conv = torch.nn.Identity()
        self.post_quant_conv = torch.nn.Identity()

    def encoder(self, pictures: torch.Tensor) -> torch.Tensor:
        colours = (torch.nn.functional.avg_pool2d(pictures.float(), 8) - 0.3) / 0.5
        return torch.cat([colours + self.off, colours[:, :1]], 1)

    def decoder(self, latents: torch.Tensor) -> torch.Tensor:
        colours = (latents[:, :3] - self.off) * 0.5 + 0.3
        return torch.nn.functional.interpolate(colours, scale_factor=8.0)


def test_the_loss_of_a_picture_is_none_at_the_picture_and_grows():
    torch.manual_seed(0)
    wanted = torch.rand(2, 3, 16, 16)
    noise = torch.randn_like(wanted)
    found = [float(picture_loss(wanted + step * noise, wanted)) for step in (0, 0.1, 0.3)]
    assert found[0] == 0
    assert 0 < found[1] < found[2]


def test_an_error_of_large_scale_costs_more_than_one_that_averages_out():
    wanted = torch.zeros(1, 3, 16, 16)
    whole = torch.full_like(wanted, 0.5)
    chequered = whole.clone()
    chequered[..., ::2] *= -1
    # Both are off by 0.5 everywhere; the terms of edges are left out of the comparison.
    edges = 0.5 * (chequered[..., 1:] - chequered[..., :-1]).abs().mean()
    assert picture_loss(chequered, wanted) - edges < picture_loss(whole, wanted)


def test_the_weight_of_colours_falls_from_one_to_its_least(shelf: Shelf):
    torch.manual_seed(0)
    losses = AutoencoderLosses(Colours(0), shelf, 2)
    assert float(losses.colour_weight) == 1
    losses()
    losses()
    assert float(losses.colour_weight) == pytest.approx(COLOUR_DECAY**2)
    losses.colour_weight.fill_(COLOUR_WEIGHT)
    losses()
    assert float(losses.colour_weight) == pytest.approx(COLOUR_WEIGHT)


def test_latents_that_are_not_the_colours_cost_what_the_weight_says(shelf: Shelf):
    def loss(off: float, weight: float) -> float:
        torch.manual_seed(0)
        losses = AutoencoderLosses(Colours(off), shelf, 2)
        losses.colour_weight.fill_(weight)
        return float(losses()[0])

    off = 0.5
    assert loss(off, 1) - loss(off, 0.5) == pytest.approx(0.5 * off**2, rel=0.02)
    assert loss(0, 1) == pytest.approx(loss(0, 0.5), abs=1e-3)


def test_what_is_measured_is_the_error_and_the_moment(shelf: Shelf):
    """The decoder repeats the noise on the latents, of deviation 0.1, halved."""
    torch.manual_seed(0)
    _, error, moment = AutoencoderLosses(Colours(0), shelf, 8)().tolist()
    assert error == pytest.approx(0.05**2, rel=0.05)
    pictures = shelf["images"].float() / 127.5 - 1
    assert moment == pytest.approx(float(((pictures - 0.3) / 0.5).square().mean()), rel=0.2)


def test_windows_are_cut_from_the_pictures_and_cost_the_same_everywhere(shelf: Shelf):
    torch.manual_seed(0)
    rows, down, right = torch.meshgrid(*map(torch.arange, (8, 128, 128)), indexing="ij")
    images = torch.stack([rows, down, right], -1)
    losses = AutoencoderLosses(None, shelf, 8, window=64)
    found = [losses._windows(images) for _ in range(12)]
    assert {part.numel() for part in found} == {8 * 64 * 64 * 3}
    cut = [part for part in found if part.shape[1] == 64]
    assert len({tuple(part[0, 0, 0].tolist()) for part in cut}) > 2
    for part in cut:
        _, top, left = part[0, 0, 0].tolist()
        assert torch.equal(part, images[:, top : top + 64, left : left + 64])
    assert AutoencoderLosses(None, shelf, 8)._windows(images) is images


def test_psnr_of_a_known_error():
    class Shifts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def encode(self, pictures: Any) -> Any:
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pictures))

        def decode(self, latents: Any) -> Any:
            return SimpleNamespace(sample=latents + 0.2)

    images = torch.full((2, 8, 8, 3), 100, dtype=torch.uint8)
    assert psnr(Shifts(), images) == pytest.approx(20, abs=1e-3)
