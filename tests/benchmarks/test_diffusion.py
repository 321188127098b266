from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console

from scumble_bench.rooms import models
from scumble_bench.rooms.diffusion import (
    WORD_WEIGHT,
    DiffusionLosses,
    LatentShelf,
    TextToNoise,
    compile_denoiser,
    level_weights,
)


@pytest.fixture
def losses() -> DiffusionLosses:
    module = TextToNoise(models.build_text_encoder(10), models.build_unet())
    return DiffusionLosses(module, LatentShelf.random(4, torch.device("cpu")), 2, [8, 9])


def test_a_twelfth_or_so_of_captions_is_empty_and_names_nothing():
    torch.manual_seed(0)
    shelf = LatentShelf.random(4, torch.device("cpu"))
    shelf.words[...] = 1
    shelf.tokens[...] = 7
    module = TextToNoise(models.build_text_encoder(10), models.build_unet())
    _, tokens, spans, _ = DiffusionLosses(module, shelf, 4000, [8, 9]).draw()
    empty = tokens[:, 0] == 8
    assert 0.08 < float(empty.float().mean()) < 0.12
    assert (tokens[empty][:, 1:] == 9).all()
    assert (spans[empty] == -1).all()
    assert (spans[~empty] == 1).all()


def test_the_loss_is_that_of_the_noise_and_a_little_of_the_words(losses: DiffusionLosses):
    losses.shelf.words[:, :, 0, 0] = torch.tensor([1, 2])
    losses.shelf.masks[:, 0, :8] = 255
    whole, noise, words = losses().tolist()
    assert noise > 0
    assert words > 0
    assert whole == pytest.approx(noise + WORD_WEIGHT * words, rel=1e-4)


def test_levels_count_by_min_snr_and_by_the_root_where_noise_outweighs():
    ratios = torch.tensor([500.0, 10.0, 5.0, 2.0, 1.0, 0.25, 0.01])
    wanted = torch.tensor([0.01, 0.5, 1.0, 1.0, 1.0, 2.0, 10.0])
    assert torch.allclose(level_weights(ratios), wanted)


def test_the_noise_is_weighted_by_its_level(
    losses: DiffusionLosses, monkeypatch: pytest.MonkeyPatch
):
    seen: list[torch.Tensor] = []

    def nothing(noisy: torch.Tensor, times: torch.Tensor, text: torch.Tensor) -> Any:
        seen.append(times)
        return torch.zeros_like(noisy), torch.zeros(2, 256, text.shape[1])

    losses.denoise = nothing
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    for _ in range(5):
        noise = float(losses()[1])
        alpha = losses.alphas[seen.pop()]
        assert noise == pytest.approx(float(level_weights(alpha / (1 - alpha)).mean()), rel=1e-4)


@pytest.mark.parametrize("broken", ["raises", "differs"])
def test_a_compiler_that_fails_is_not_used(
    losses: DiffusionLosses, monkeypatch: pytest.MonkeyPatch, broken: str
):
    plain = losses.denoise

    def compiled(*given: Any) -> Any:
        if broken == "raises":
            raise RuntimeError("no kernel")
        noise, maps = plain(*given)
        return noise + 1, maps

    monkeypatch.setattr(torch, "compile", lambda *_, **__: compiled)
    said = StringIO()
    assert compile_denoiser(losses, Console(file=said)) is False
    assert losses.denoise is plain
    assert {"raises": "no kernel", "differs": "differ by"}[broken] in said.getvalue()
    assert all(parameter.grad is None for parameter in losses.module.parameters())
