"""Direct inversion: the DDIM walk, held to. What it does to an edit is in `tests/parity`."""

from typing import Any

import numpy as np
import pytest

from scumble.errors import NumericalError, OptionError
from scumble.hookspecs import RunView
from scumble.host import Host
from scumble.prompts import Prompt
from scumble.schedulers import DDIM, SchedulerConfig
from scumble.sites import Site, SiteTable

SITES = SiteTable((Site(0, "attn2", "cross", "mid", 1, 8, 1),), (8, 8))
CONFIG = SchedulerConfig(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    set_alpha_to_one=False,
    steps_offset=1,
)


def prompt(text: str) -> Prompt:
    return Prompt(text, np.zeros(4, np.int64), ((0, 0),) * 4, 2, 2)


def never(*_: Any) -> Any:
    raise AssertionError("no map and no other prompt is needed")


def view(steps: int = 5, bad: bool = False) -> tuple[RunView, list[tuple[int, str]]]:
    """A run whose UNet is a formula, and what that is told."""
    told: list[tuple[int, str]] = []

    def predict(latent: np.ndarray, timestep: int, text: str) -> np.ndarray:
        told.append((timestep, text))
        return latent * np.nan if bad else np.sin(latent + timestep / 300)

    scheduler = DDIM(CONFIG, steps)

    def predict_source(latent: np.ndarray, step: int) -> np.ndarray:
        return predict(latent, int(scheduler.timesteps[step]), "a cat")

    image = np.random.default_rng(1).standard_normal((4, 8, 8))
    image.setflags(write=False)
    run = RunView(
        steps=steps, guidance=7.5, source=prompt("a cat"), targets=(prompt("a dog"),), sites=SITES,
        latent=(8, 8), scheduler=scheduler, seed=0, image=image, mask=None, masks={},
        predict=predict, look=never, encode=never, predict_source=predict_source,
    )  # fmt: skip
    return run, told


def test_the_recorded_latents_are_held_to():
    run, told = view()
    trajectory = Host([("direct", {})]).invert(run)
    assert trajectory.pinned
    assert trajectory.latents.shape == (6, 4, 8, 8)
    assert run.image is not None
    assert np.array_equal(trajectory.latents[-1], run.image)
    assert told == [(t, "a cat") for t in (1, 201, 401, 601, 801)]


def test_it_walks_as_ddim_does():
    held = Host([("direct", {})]).invert(view()[0])
    free = Host([("ddim", {})]).invert(view()[0])
    assert np.array_equal(held.latents, free.latents)


def test_the_convention_is_an_option():
    run, told = view()
    Host([("direct", {"convention": "current"})]).invert(run)
    assert [timestep for timestep, _ in told] == [1, 1, 201, 401, 601]
    with pytest.raises(OptionError, match="convention"):
        Host([("direct", {"convention": "next"})])
    with pytest.raises(OptionError, match="steps"):
        Host([("direct", {"steps": 3})])


def test_overwriting_is_what_offsets_add_up_to():
    """Algorithm 1 of the paper on the same walk, for any guided noise of the source."""
    run, _ = view()
    recorded = Host([("direct", {})]).invert(run).latents
    latent = recorded[0]
    for index in range(run.steps):
        guided = 7.5 * np.cos(latent * index)
        reached = run.scheduler.forward(latent, guided, index)
        offset = recorded[index + 1] - reached
        latent = run.scheduler.forward(latent, guided, index) + offset
        assert np.abs(latent - recorded[index + 1]).max() < 1e-13


def test_a_walk_that_overflows_is_stopped():
    run, told = view(bad=True)
    with pytest.raises(NumericalError, match="inverted latent at step 4"):
        Host([("direct", {})]).invert(run)
    assert len(told) == 1
