import numpy as np
import pytest
import torch

from scumble_bench.rooms import models
from scumble_bench.rooms.attention import Denoiser, token_weights, word_loss


def test_the_denoiser_gives_the_unets_noise_and_maps_that_sum_to_one():
    torch.manual_seed(0)
    unet = models.build_unet().eval()
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 40, 128)
    times = torch.tensor([10, 700])
    with torch.no_grad():
        plain = unet(sample, times, text).sample
        noise, maps = Denoiser(unet)(sample, times, text)
    assert float((noise - plain).abs().max()) < 1e-5
    assert maps.shape == (2, 256, 40)
    assert float((maps.sum(-1) - 1).abs().max()) < 1e-5


def test_word_loss_is_low_inside_and_high_outside():
    masks = torch.zeros(1, 2, 16)
    masks[0, 0, :4] = 1
    spans = torch.full((1, 2, 2, 2), -1)
    spans[0, 0, 0] = torch.tensor([3, 5])
    weights = torch.ones(1)
    inside = torch.zeros(1, 16, 8)
    inside[0, :4, 3:5] = 0.5
    outside = torch.zeros(1, 16, 8)
    outside[0, 4:, 3:5] = 0.5
    even = torch.full((1, 16, 8), 1 / 8)
    assert float(word_loss(inside, spans, masks, weights)) == pytest.approx(0, abs=1e-4)
    assert float(word_loss(even, spans, masks, weights)) == pytest.approx(np.log(4), abs=1e-3)
    assert float(word_loss(outside, spans, masks, weights)) > 5
    silent = torch.full_like(spans, -1)
    assert float(word_loss(outside, silent, masks, weights)) == 0


def test_token_weights_average_over_a_span():
    weights = token_weights(torch.tensor([[2, 4], [-1, -1]]), 5)
    assert weights.tolist() == [[0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 0]]


def test_words_gain_nothing_by_not_being_looked_at():
    masks = torch.zeros(1, 1, 16)
    masks[0, 0, :4] = 1
    spans = torch.tensor([[[[3, 5]]]])
    even = torch.full((1, 16, 8), 1 / 8)
    for share in (1.0, 1e-3, 1e-8):
        faint = even * share
        assert float(word_loss(faint, spans, masks, torch.ones(1))) == pytest.approx(
            np.log(4), rel=1e-3
        )
