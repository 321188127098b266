from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console

from scumble_bench.rooms import diffusion, models
from scumble_bench.rooms.diffusion import (
    THING_WEIGHT,
    WORD_WEIGHT,
    DiffusionLosses,
    TextToNoise,
    build_losses,
    cell_weights,
    compile_denoiser,
    level_weights,
)
from scumble_bench.rooms.shelves import LatentShelf


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


def test_levels_count_by_the_inverse_root_of_the_ratio():
    ratios = torch.tensor([100.0, 4.0, 1.0, 0.25, 0.01])
    assert torch.allclose(level_weights(ratios), torch.tensor([0.1, 0.5, 1.0, 2.0, 10.0]))


def test_cells_of_things_count_more_the_less_noise_there_is():
    masks = torch.zeros(3, 2, 4, 4)
    masks[:, 0, :2] = 1
    masks[:, 1, 1:3] = 0.5  # over the first thing, and half of a row beside it
    found = cell_weights(masks, torch.tensor([1.0, 0.5, 0.0]))
    assert torch.allclose(found.mean((1, 2, 3)), torch.ones(3))
    share = found[:, 0, :, 0] / found[:, 0, 3:, 0]
    assert torch.allclose(share[0], torch.tensor([5.0, 5.0, 3.0, 1.0]))
    assert torch.allclose(share[1], torch.tensor([3.0, 3.0, 2.0, 1.0]))
    assert torch.equal(share[2], torch.ones(4))


def test_the_noise_is_weighted_by_its_level_and_cell(
    losses: DiffusionLosses, monkeypatch: pytest.MonkeyPatch
):
    seen: list[torch.Tensor] = []
    losses.shelf.masks[:, 0, :, :4] = 255
    wrong = torch.zeros(2, 4, 16, 16)
    wrong[:, :, :, :4] = 1  # where the thing is

    def almost(noisy: torch.Tensor, times: torch.Tensor, text: torch.Tensor) -> Any:
        seen.append(times)
        return torch.ones_like(noisy) + wrong, torch.zeros(2, 256, text.shape[1])

    losses.denoise = almost
    monkeypatch.setattr(torch, "randn_like", torch.ones_like)
    for _ in range(5):
        noise = float(losses()[1])
        alpha = losses.alphas[seen.pop()]
        inside = (1 + THING_WEIGHT * alpha) / (1 + THING_WEIGHT * alpha / 4)
        levels = level_weights(alpha / (1 - alpha))
        assert noise == pytest.approx(float((levels * inside / 4).mean()), rel=1e-4)


def test_the_fused_attention_is_not_differentiated_on_a_cpu(losses: DiffusionLosses):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        losses()[0].backward()
    called = {event.key for event in profile.key_averages()}
    assert "aten::bmm" in called
    assert not {name for name in called if "flash" in name}


def test_losses_are_compiled_where_that_is_asked_for(
    losses: DiffusionLosses, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(diffusion, "compile_denoiser", lambda found, _: setattr(found, "ok", 1))
    for compiles in (False, True):
        built = build_losses(losses.module, losses.shelf, 2, [8, 9], compiles)
        assert built.batch == 2
        assert hasattr(built, "ok") is compiles


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
