"""DDIM inversion: each step by its equation, and what it costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.hookspecs import RunView
from scumble.host import Host
from scumble.prompts import Prompt
from scumble.schedulers import DDIM, SchedulerConfig
from scumble.sites import Site, SiteTable

SITES = SiteTable((Site(0, "attn2", "cross", "mid", 1, 8, 1),), (8, 8))
BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ALPHAS = np.cumprod(1 - BETAS)


def formula(latent: np.ndarray, timestep: int, text: str) -> np.ndarray:
    """Stands in for a UNet; the prompt matters."""
    return np.sin(latent * len(text) + timestep / 300)


def never(*_: Any) -> Any:
    raise AssertionError("no map and no other prompt is needed")


def view(steps: int = 5, offset: int = 1, predict: Any = formula, dtype: Any = float) -> RunView:
    config = SchedulerConfig(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        set_alpha_to_one=False,
        steps_offset=offset,
    )
    ids = np.zeros(4, np.int64)
    source, target = (Prompt(text, ids, ((0, 0),) * 4, 2, 2) for text in ("a cat", "a dog here"))
    image = np.random.default_rng(1).standard_normal((4, 8, 8)).astype(dtype)
    return RunView(
        steps=steps, guidance=7.5, source=source, targets=(target,), sites=SITES, latent=(8, 8),
        scheduler=DDIM(config, steps), seed=0, image=image, mask=None, masks={}, predict=predict,
        look=never, encode=never,
    )  # fmt: skip


def invert(run: RunView, **options: Any) -> np.ndarray:
    trajectory = Host([("ddim", options)]).invert(run)
    assert not trajectory.pinned
    return trajectory.latents


def by_equation(run: RunView, offset: int) -> list[np.ndarray]:
    """The UNet is told the noisier timestep on the cleaner latent; noisiest first."""
    assert run.image is not None
    gap = 1000 // run.steps
    latents = [run.image]
    for t in (i * gap + offset for i in range(run.steps)):
        noise = formula(latents[0], t, "a cat")
        start, end = ALPHAS[max(t - gap, 0)], ALPHAS[t]
        clean = (latents[0] - (1 - start) ** 0.5 * noise) / start**0.5
        latents.insert(0, end**0.5 * clean + (1 - end) ** 0.5 * noise)
    return latents


@pytest.mark.parametrize("steps", [1, 5, 50])
@pytest.mark.parametrize("offset", [0, 1])
def test_every_step_follows_the_equation(steps: int, offset: int):
    run = view(steps, offset)
    found, wanted = invert(run), by_equation(run, offset)
    assert len(found) == len(wanted) == steps + 1
    assert np.abs(found - np.stack(wanted)).max() < 1e-12


@pytest.mark.parametrize(("offset", "calls"), [(0, 49), (1, 50)])
def test_the_step_at_timestep_zero_is_free(offset: int, calls: int):
    counted: list[int] = []

    def counting(latent: np.ndarray, timestep: int, text: str) -> np.ndarray:
        counted.append(timestep)
        return formula(latent, timestep, text)

    latents = invert(view(50, offset, counting))
    assert len(counted) == calls
    assert counted == sorted(counted)
    assert np.array_equal(latents[-1], latents[-2]) == (offset == 0)


def test_noise_that_does_not_depend_on_the_latent_is_undone_exactly():
    run = view(10, predict=lambda latent, t, text: np.cos(np.arange(256.0)).reshape(4, 8, 8) * t)
    latents = invert(run)
    back = latents[0]
    for index, timestep in enumerate(run.scheduler.timesteps):
        back = run.scheduler.forward(back, run.predict(back, int(timestep), "a cat"), index)
        assert np.abs(back - latents[index + 1]).max() < 1e-9


def test_the_current_convention_tells_the_timestep_the_latent_is_at():
    told: list[int] = []

    def telling(latent: np.ndarray, timestep: int, text: str) -> np.ndarray:
        told.append(timestep)
        return formula(latent, timestep, text)

    invert(view(predict=telling), convention="current")
    assert told == [1, 1, 201, 401, 601]


def test_latents_keep_their_width():
    assert invert(view(dtype=np.float32)).dtype == np.float32


def test_a_picture_is_needed():
    with pytest.raises(OptionError, match="needs a picture"):
        invert(replace(view(), image=None))


@pytest.mark.parametrize("options", [{"convention": "next"}, {"guidance": 1.0}])
def test_unknown_options_are_refused(options: dict[str, Any]):
    with pytest.raises(OptionError, match=next(iter(options))):
        Host([("ddim", options)])
