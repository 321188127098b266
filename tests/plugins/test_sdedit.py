"""SDEdit on the fake engine: where it starts, what it keeps, what it refuses, what it costs."""

from typing import Any

import numpy as np
import pytest

from scumble import OptionError, Plan
from scumble.host import Host
from scumble.options import check_options
from scumble.testing import assert_deterministic, assert_reductions_exact, run_plugin
from scumble_plugins.sdedit import SDEdit, SDEditOptions

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
EDIT: dict[str, Any] = {"image": PICTURE, "steps": 5}


def plugin(**options: Any) -> SDEdit:
    return SDEdit(check_options(SDEditOptions, options, "sdedit"))


@pytest.mark.parametrize("strength", [-0.1, 1.1, "much"])
def test_a_strength_out_of_range_is_refused(strength: Any):
    with pytest.raises(OptionError, match="strength"):
        Host([("sdedit", {"strength": strength})])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": None}, "starts from a picture"),
        ({"targets": ()}, "needs a target prompt"),
        ({"mask": np.ones((64, 64), bool)}, "no mask without a name"),
        ({"steps": 3, "strength": 0.3}, r"strength 0\.3 of 3 steps is no step"),
    ],
)
def test_what_cannot_be_done_is_refused(changed: dict[str, Any], message: str):
    options = {name: changed.pop(name) for name in ("strength",) if name in changed}
    with pytest.raises(OptionError, match=message):
        run_plugin(plugin(**options), **{**EDIT, **changed})


@pytest.mark.parametrize(("strength", "steps"), [(1, 5), (0.8, 4), (0.79, 3), (0.2, 1)])
def test_a_share_of_the_steps_is_taken_and_nothing_is_inverted(strength: float, steps: int):
    run = run_plugin(plugin(strength=strength), **EDIT)
    assert run.rows == {"plain": 2 * steps}
    assert [bool(level) for level in run.levels] == [False] * (5 - steps) + [True] * steps


def test_at_strength_0_the_picture_is_left_as_it_is():
    run = run_plugin(plugin(strength=0), **EDIT)
    assert run.rows == {}
    assert run.trajectory is not None
    encoded = PICTURE.reshape(8, 8, 8, 8, 3).astype(np.float64).mean(axis=(1, 3)) / 127.5 - 1
    np.testing.assert_allclose(run.latents[1][:3], np.moveaxis(encoded, -1, 0), atol=1e-6)
    assert np.array_equal(run.latents[1], run.trajectory.latents[-1])


def test_the_less_is_taken_the_more_stays():
    kept = run_plugin(plugin(strength=0), **EDIT).latents[1]
    away = [
        float(np.abs(run_plugin(plugin(strength=s), **EDIT).latents[1] - kept).mean())
        for s in (0.2, 0.6, 1)
    ]
    assert 0 < away[0] < away[1] < away[2]


def test_the_noise_is_the_seeds():
    first, again, other = (run_plugin(plugin(), seed=seed, **EDIT).latents[1] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_source_prompt_does_not_matter():
    first, other = (
        run_plugin(plugin(), source=source, **EDIT).latents[1] for source in ("a red cat", "")
    )
    assert np.array_equal(first, other)


def test_targets_start_from_the_same_noise():
    run = run_plugin(plugin(), targets=("a blue cat", "a red dog"), **EDIT)
    assert np.array_equal(run.levels[1][1], run.levels[1][2])
    assert not np.array_equal(run.latents[1], run.latents[2])


def test_guidance_1_is_allowed():
    assert run_plugin(plugin(), guidance=1, **EDIT).rows == {"plain": 4}


def test_it_plans_nothing_but_its_start():
    run: Any = type("View", (), {"image": PICTURE, "targets": ("t",), "steps": 50})
    assert plugin().scumble_plan(run) == Plan(start=10)
    assert plugin(strength=0.29).scumble_plan(run) == Plan(start=36)
    run.steps = 100
    assert plugin(strength=0.29).scumble_plan(run) == Plan(start=71)  # not 72, by rounding


def test_the_planners_reductions_change_nothing():
    assert_reductions_exact(plugin(), **EDIT)


def test_runs_repeat():
    assert_deterministic(plugin(), **EDIT)
