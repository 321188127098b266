"""A picture with noise of the seed on it, at every level."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.errors import OptionError
from scumble.hookspecs import RunView
from scumble.noising import noised_trajectory
from scumble.schedulers import DDIM
from scumble.testing import fake_session

IMAGE = np.random.default_rng(1).standard_normal((4, 8, 8))


@pytest.fixture
def run(tmp_path: Path) -> RunView:
    session = fake_session(tmp_path)
    return RunView(
        5, 1.0, session.tokenizer.encode("a red cat"), (), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, 5), 3, IMAGE, None, {}, session.predict,
        session.look, session.tokenizer.encode,
    )  # fmt: skip


def noises(run: RunView, levels: Floats) -> Floats:
    """What was put on the picture at each level but the last."""
    alphas = run.scheduler.alphas[:-1, None, None, None]
    return (levels[:-1] - alphas**0.5 * IMAGE) / (1 - alphas) ** 0.5


def test_one_noise_for_every_level(run: RunView):
    found = noised_trajectory(run)
    assert found.pinned
    assert found.latents.shape == (6, 4, 8, 8)
    np.testing.assert_array_equal(found.latents[-1], IMAGE)
    drawn = np.random.default_rng(3).standard_normal((4, 8, 8))
    np.testing.assert_allclose(noises(run, found.latents), np.stack([drawn] * 5), atol=1e-12)


def test_fresh_noise_for_each_level(run: RunView):
    found = noised_trajectory(run, fresh=True)
    drawn = np.random.default_rng(3).standard_normal((5, 4, 8, 8))
    np.testing.assert_allclose(noises(run, found.latents), drawn, atol=1e-12)
    np.testing.assert_array_equal(found.latents[-1], IMAGE)


def test_it_needs_a_picture(run: RunView):
    with pytest.raises(OptionError, match="noise is added to a picture"):
        noised_trajectory(replace(run, image=None))
