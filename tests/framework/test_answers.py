"""What an engine answers with."""

import numpy as np

from scumble.answers import ModelInfo, StepOutput
from scumble.testing.fake_engine import SITES


def test_the_axes_of_a_model():
    sizes = ModelInfo(SITES, 4, 8, 16, 32, 5).sizes((6, 9))
    assert sizes.latent == (4, 6, 9)
    assert (sizes.tokens, sizes.features, sizes.pooled) == (16, 32, 5)
    assert sizes.sites is SITES
    assert ModelInfo(SITES, 4, 8, 16, 32).sizes((6, 9)).pooled is None


def test_what_a_step_does_not_give_is_empty_and_its_own():
    one, other = (StepOutput(np.zeros((1, 4, 2, 2))) for _ in range(2))
    one.reads[1] = one.noise
    one.recorded["source.text"] = one.noise
    assert (other.reads, other.recorded, other.bound) == ({}, {}, frozenset())
