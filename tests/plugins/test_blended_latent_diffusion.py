"""Blended Latent Diffusion on the fake engine: what stays outside, what it refuses and costs."""

from typing import Any

import numpy as np
import pytest

from scumble import OptionError
from scumble.host import Host
from scumble.options import check_options
from scumble.testing import assert_deterministic, assert_reductions_exact, run_plugin
from scumble_plugins.blended_latent_diffusion import (
    BlendedLatentDiffusion,
    BlendedLatentDiffusionOptions,
)
from scumble_plugins.sdedit import SDEdit, SDEditOptions

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
HALF = np.zeros((64, 64), bool)
HALF[:, :24] = True
INSIDE = HALF[::8, ::8]
EDIT: dict[str, Any] = {"image": PICTURE, "mask": HALF, "steps": 8}


def plugin(**options: Any) -> BlendedLatentDiffusion:
    return BlendedLatentDiffusion(check_options(BlendedLatentDiffusionOptions, options, "bld"))


@pytest.mark.parametrize(
    "options", [{"blending_start": 1.5}, {"blending_start": -1}, {"fresh": "noise"}]
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]):
    with pytest.raises(OptionError, match=next(iter(options))):
        Host([("blended_latent_diffusion", options)])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": None, "mask": None}, "edits a picture"),
        ({"targets": ()}, "needs a target prompt"),
        ({"mask": None}, "needs a mask"),
        ({"mask": {"sky": HALF}}, "no mask named 'sky'"),
    ],
)
def test_what_cannot_be_done_is_refused(changed: dict[str, Any], message: str):
    with pytest.raises(OptionError, match=message):
        run_plugin(plugin(), **{**EDIT, **changed})


@pytest.mark.parametrize("fresh", [True, False])
def test_outside_the_picture_stays_bit_for_bit(fresh: bool):
    run = run_plugin(plugin(fresh=fresh), targets=("a blue cat", "a dog"), **EDIT)
    assert run.trajectory is not None
    for picture in (1, 2):
        kept = run.latents[picture] == run.trajectory.latents[-1]
        assert kept[:, ~INSIDE].all()
        assert not kept[:, INSIDE].any()


@pytest.mark.parametrize("fresh", [True, False])
def test_each_level_outside_is_the_picture_noised_to_it(fresh: bool):
    run = run_plugin(plugin(fresh=fresh), **EDIT)
    assert run.trajectory is not None
    for index in range(2, 8):
        level = run.levels[index][1]
        assert np.array_equal(level[:, ~INSIDE], run.trajectory.latents[index][:, ~INSIDE])
    clean, (third, fourth) = run.trajectory.latents[-1], run.trajectory.latents[3:5]
    same = np.corrcoef((third - clean).ravel(), (fourth - clean).ravel())[0, 1]
    assert same < 0.5 if fresh else same > 0.95


def test_a_mask_of_the_whole_picture_is_sdedit():
    whole = np.ones_like(HALF)
    blended = run_plugin(plugin(fresh=False), **{**EDIT, "mask": whole})
    plain = run_plugin(SDEdit(SDEditOptions(strength=0.75)), image=PICTURE, steps=8)
    assert np.array_equal(blended.latents[1], plain.latents[1])


def test_with_no_step_taken_the_picture_is_left_as_it_is():
    run = run_plugin(plugin(blending_start=1), **EDIT)
    assert run.trajectory is not None
    assert np.array_equal(run.latents[1], run.trajectory.latents[-1])
    assert run.rows == {}


@pytest.mark.parametrize(("share", "steps"), [(0.25, 6), (0, 8), (0.3, 6)])
def test_two_rows_a_step_and_nothing_inverted(share: float, steps: int):
    assert run_plugin(plugin(blending_start=share), **EDIT).rows == {"plain": 2 * steps}


def test_the_planners_reductions_change_nothing():
    assert_reductions_exact(plugin(), **EDIT)


def test_runs_repeat():
    assert_deterministic(plugin(), **EDIT)
