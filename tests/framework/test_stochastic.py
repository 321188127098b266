"""Steps that add noise, against diffusers and against DDPM's posterior."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from scumble.schedulers import DDIM, SchedulerConfig
from scumble.stochastic import deviation, noised, step_mean

VALUES: dict[str, Any] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
RNG = np.random.default_rng(4)
LATENT, PREDICTED, NOISE = RNG.standard_normal((3, 4, 6, 5))


def scheduler(steps: int = 10, **changed: Any) -> DDIM:
    return DDIM(SchedulerConfig(**VALUES | changed), steps)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_a_step_is_that_of_diffusers(eta: float, kind: Any):
    mine = scheduler(prediction_type=kind)
    theirs: Any = DDIMScheduler(**VALUES, clip_sample=False, prediction_type=kind)
    theirs.alphas_cumprod = torch.from_numpy(mine.config.alphas_cumprod())
    theirs.final_alpha_cumprod = theirs.alphas_cumprod[0]
    theirs.set_timesteps(10)
    given = [torch.from_numpy(array) for array in (PREDICTED, LATENT, NOISE)]
    for index, timestep in enumerate(theirs.timesteps):
        wanted = theirs.step(
            given[0], int(timestep), given[1], eta=eta, variance_noise=given[2]
        ).prev_sample.numpy()
        found = noised(mine, LATENT, PREDICTED, index, NOISE, eta)
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


def test_eta_one_is_ddpms_posterior():
    """Ho et al. 2020, eq. 6 and 7, with the variance of its eq. 7 for a jump of many timesteps."""
    mine = scheduler()
    for index in range(10):
        start, end = float(mine.alphas[index]), float(mine.reached[index])
        alpha = start / end
        clean = (LATENT - (1 - start) ** 0.5 * PREDICTED) / start**0.5
        mean = (end**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - end) * LATENT) / (1 - start)
        np.testing.assert_allclose(step_mean(mine, LATENT, PREDICTED, index, 1.0), mean, rtol=1e-9)
        variance = (1 - end) / (1 - start) * (1 - alpha)
        assert deviation(mine, index) == pytest.approx(variance**0.5, rel=1e-12)


def test_without_eta_it_is_ddim():
    mine = scheduler()
    for index in range(10):
        plain = mine.forward(LATENT, PREDICTED, index)
        np.testing.assert_array_equal(noised(mine, LATENT, PREDICTED, index, NOISE, 0.0), plain)


def test_an_identity_adds_nothing():
    mine = scheduler(steps_offset=0)
    assert mine.is_identity(9)
    assert deviation(mine, 9) == 0
    np.testing.assert_array_equal(noised(mine, LATENT, PREDICTED, 9, NOISE), LATENT)


def test_latents_keep_their_width():
    latent, predicted = (array.astype(np.float32) for array in (LATENT, PREDICTED))
    assert step_mean(scheduler(), latent, predicted, 3, 1.0).dtype == np.float32
    assert noised(scheduler(), latent, predicted, 3, NOISE).dtype == np.float32
