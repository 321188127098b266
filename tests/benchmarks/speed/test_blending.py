import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scumble.arrays import Floats
from scumble.hookspecs import RunView, StepView
from scumble.masks import mask_to_latent
from scumble_plugins.prompt_to_prompt import PromptToPrompt

LATE = 40
"""A step after the one at which blending starts."""


@pytest.fixture
def step() -> StepView:
    """Both prompts look at the upper left quarter of the picture."""
    fields: Floats = np.full((1, 16, 16), 0.01, dtype=np.float32)
    fields[:, :8, :8] = 1
    latents = {picture: np.full((4, 64, 64), picture, dtype=np.float32) for picture in (0, 1)}
    return StepView(LATE, latents, {"blend.0": fields, "blend.1": fields})


def test_blend_a_step(
    benchmark: BenchmarkFixture, plugin: PromptToPrompt, view: RunView, step: StepView
):
    blended = benchmark(plugin.scumble_after_step, view, step)
    assert blended is not None
    changed = blended[1][0] == 1
    assert changed[:32, :32].all(), "the words' own place"
    assert not changed[40:, 40:].any(), "far from it the source is kept"


def test_bring_a_mask_to_latent_size(benchmark: BenchmarkFixture):
    mask = np.zeros((512, 512), dtype=bool)
    mask[64:128, 200:400] = True
    small = benchmark(mask_to_latent, mask, (64, 64))
    assert small.shape == (64, 64)
    assert small[8:16, 25:50].all()
    assert small.sum() == 8 * 25
