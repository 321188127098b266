"""The contract passes what keeps it, and catches what breaks it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.controls import Branch, Route, Watch
from scumble.hookspecs import RunView, StepView, Trajectory, hookimpl
from scumble.inversion import ddim_trajectory
from scumble.options import Options
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin, load_plugin
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    run_plugin,
)


def method(**options: Any) -> Plugin:
    return load_plugin("prompt_to_prompt", options)[1]


NEUTRAL = {"cross_window": 0.0, "self_window": 0.0}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"blend_words": ("cat",)},
    {"reweight": {"blue": 3.0}, "cross_window": {"default": 0.5, "blue": (0.2, 0.9)}},
    NEUTRAL,
]


@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("real", [False, True])
def test_a_built_in_method_keeps_it(options: dict[str, Any], real: bool, picture: Any):
    image = picture if real else None
    assert_deterministic(method(**options), image=image)
    assert_reductions_exact(method(**options), image=image, steps=6)
    assert_reductions_exact(
        method(**options), image=image, guidance=1, targets=("a blue cat", "a big blue cat")
    )


def test_neutral_options_change_nothing(picture: Any):
    assert_neutral_is_identity(method(**NEUTRAL))
    assert_neutral_is_identity(method(**NEUTRAL), image=picture, steps=5)
    with pytest.raises(AssertionError, match=r"PromptToPrompt with neutral .* picture 1 moved by"):
        assert_neutral_is_identity(method())


def test_a_run(picture: Any):
    done = run_plugin(method(), image=picture, steps=3, dtype=np.float32)
    assert done.latents[1].dtype == np.float32
    assert set(done.pixels) == {1}
    assert set(run_plugin(None, targets=(), steps=2).pixels) == {0}
    assert set(run_plugin(method(), steps=2).pixels) == {0, 1}


def test_a_mask(picture: Any):
    mask = np.zeros((64, 64), dtype=bool)
    mask[:, :32] = True
    done = run_plugin(method(), image=picture, mask=mask)
    np.testing.assert_array_equal(done.latents[1][:, :, 4:], done.latents[0][:, :, 4:])


class Unwatched(Plugin):
    """Blends in the source's latent and does not say so."""

    @hookimpl
    def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
        return {1: (step.latents[1] + step.latents[0]) / 2}


class Watched(Unwatched):
    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        return Plan((Watch(0, np.ones(run.steps, dtype=bool)),))


def test_a_latent_that_is_read_and_not_watched_is_caught():
    assert_reductions_exact(Watched(NoOptions()), targets=("a blue cat",))
    run = {"source": "a red cat", "targets": ("a blue cat",)}
    generated = run_plugin(Unwatched(NoOptions()), **run)
    assert set(generated.pixels) == {0, 1}, "a wanted source is up to date anyway"
    drifting = {**run, "image": np.zeros((64, 64, 3), np.uint8), "inversion": Drifts(NoOptions())}
    assert_reductions_exact(Watched(NoOptions()), **drifting)
    with pytest.raises(AssertionError, match="Unwatched depends on rows that its plan does not"):
        assert_reductions_exact(Unwatched(NoOptions()), **drifting)


class Drifts(Plugin):
    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        return Trajectory(ddim_trajectory(run), pinned=False)


def test_a_plugin_that_inverts_is_used_for_it(picture: Any):
    done = run_plugin(Drifts(NoOptions()), image=picture)
    assert done.trajectory is not None
    assert not done.trajectory.pinned


class Random(Plugin):
    """Draws from where it must not."""

    @hookimpl
    def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
        return {1: step.latents[1] + np.random.standard_normal(step.latents[1].shape)}


def test_other_randomness_is_caught():
    state = np.random.get_state(legacy=False)
    with pytest.raises(AssertionError, match="two runs of Random differ"):
        assert_deterministic(Random(NoOptions()))
    np.testing.assert_array_equal(
        np.random.get_state(legacy=False)["state"]["key"], state["state"]["key"]
    )


class Amount(Options):
    sites: tuple[int, ...] = (0,)


class Remembers(Plugin):
    """Keeps what it saw in the class, where the next run finds it."""

    options_type = Amount
    options: Amount
    seen: ClassVar[list[int]] = []

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        self.seen.append(1)
        on = np.full(run.steps, len(self.seen) % 2 == 0)
        return Plan((Route(Branch(1), on, self.options.sites, key=Branch(0)),))


def test_state_that_is_left_behind_is_caught():
    with pytest.raises(AssertionError, match="two runs of Remembers differ"):
        assert_deterministic(Remembers(Amount()))


def test_nan_is_never_close():
    class Spoils(Plugin):
        @hookimpl
        def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
            return {1: step.latents[1] * np.nan}

    with pytest.raises(Exception, match="not finite"):
        assert_deterministic(Spoils(NoOptions()))
