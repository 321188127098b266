"""DiffEdit on the fake engine: its mask, what it keeps, what it refuses and costs; as masking."""

from typing import Any

import numpy as np
import pytest

from scumble import OptionError
from scumble.host import Host
from scumble.options import check_options
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    run_plugin,
)
from scumble_plugins.ddim_inversion import DDIMInversion
from scumble_plugins.diffedit import DiffEdit, DiffEditOptions, contrasted
from scumble_plugins.prompt_to_prompt import PromptToPrompt, PromptToPromptOptions

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
HALF = np.zeros((64, 64), bool)
HALF[:, :24] = True
EDIT: dict[str, Any] = {"image": PICTURE, "steps": 5}


def plugin(**options: Any) -> DiffEdit:
    return DiffEdit(check_options(DiffEditOptions, options, "diffedit"))


@pytest.mark.parametrize(
    "options",
    [
        {"encode_ratio": 1.5}, {"maps": 0}, {"mask_strength": -0.1}, {"clip": 0},
        {"threshold": 1}, {"masks": 3},
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any]):
    with pytest.raises(OptionError, match=next(iter(options))):
        Host([("diffedit", options)])


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"image": None}, {}, "finds its mask in a picture"),
        ({"targets": ("a dog", "a blue cat")}, {}, "one target and this run has 2"),
        ({"targets": ("a red cat",)}, {}, "no place where the two prompts differ"),
        ({}, {"mask_strength": 0.1}, r"mask_strength 0\.1 of 5 steps is no noise"),
        ({"mask": HALF}, {"maps": 3, "clip": 2}, "clip, maps would do nothing"),
        ({"mask": {"sky": HALF}}, {}, "no mask named 'sky'"),
    ],
)
def test_what_cannot_be_done_is_refused(
    changed: dict[str, Any], options: dict[str, Any], message: str
):
    with pytest.raises(OptionError, match=message):
        run_plugin(plugin(**options), **{**EDIT, **changed})


def test_the_contrast_is_clipped_scaled_and_cut():
    difference = np.array([[0.0, 1, 2], [3, 4, 20]])  # mean 5
    assert contrasted(difference, 0.6, 0.5).tolist() == [[False, False, True], [True] * 3]
    # Without a clip the one peak would be all there is.
    assert contrasted(difference, 3, 0.5).sum() == 1
    # At the clip itself all that was clipped is above any share below 1.
    assert contrasted(difference, 0.6, 0.99).tolist() == [[False] * 3, [True] * 3]
    assert not contrasted(np.zeros((2, 2)), 3, 0.5).any()


def test_its_mask_is_where_the_noises_differ():
    run = run_plugin(plugin(maps=4, clip=1.5, threshold=0.6), **EDIT)
    mask = run.masks[""] > 0
    assert 0.05 < mask.mean() < 0.7
    assert run.rows["masking"] == 8
    assert run.trajectory is not None
    kept = run.latents[1] == run.trajectory.latents[-1]
    assert kept[:, ~mask].all()
    assert not kept[:, mask].any()


def test_steps_before_its_start_are_neither_inverted_nor_taken():
    run = run_plugin(plugin(encode_ratio=0.6), mask=HALF, **EDIT)
    assert run.rows == {"inversion": 3, "plain": 6}
    assert run.trajectory is not None
    assert np.array_equal(run.trajectory.latents[0], run.trajectory.latents[2])
    whole = run_plugin(plugin(encode_ratio=1), mask=HALF, **EDIT)
    assert whole.rows == {"inversion": 5, "plain": 10}
    assert whole.trajectory is not None
    assert np.array_equal(run.trajectory.latents[2:], whole.trajectory.latents[2:])


def test_several_targets_share_a_mask_that_is_given():
    run = run_plugin(plugin(), targets=("a dog", "a blue cat"), mask=HALF, **EDIT)
    assert not np.array_equal(run.latents[1], run.latents[2])


def test_a_mask_of_the_whole_picture_and_every_step_are_the_plain_run():
    whole = {**EDIT, "mask": np.ones_like(HALF)}
    assert_neutral_is_identity(plugin(encode_ratio=1), **whole)


def test_with_no_step_taken_the_picture_is_left_as_it_is():
    run = run_plugin(plugin(encode_ratio=0), mask=HALF, **EDIT)
    assert run.rows == {}
    assert run.trajectory is not None
    assert np.array_equal(run.latents[1], run.trajectory.latents[-1])


def test_as_masking_it_makes_a_mask_and_plans_nothing():
    """DiffEdit's mask + Prompt-to-Prompt is Prompt-to-Prompt with that mask given."""
    options = {"maps": 4, "clip": 1.5, "threshold": 0.6}
    made = run_plugin(plugin(**options), **EDIT).masks[""]
    method = PromptToPrompt(PromptToPromptOptions())
    run = run_plugin(method, masking=plugin(**options), **EDIT)
    assert np.array_equal(run.masks[""], made)
    method = PromptToPrompt(PromptToPromptOptions())
    given = run_plugin(method, mask=made.repeat(8, 0).repeat(8, 1) > 0, **EDIT)
    assert np.array_equal(run.latents[1], given.latents[1])
    assert run.rows == {**given.rows, "masking": 8}
    without = run_plugin(PromptToPrompt(PromptToPromptOptions()), **EDIT)
    assert not np.array_equal(run.latents[1], without.latents[1])


@pytest.mark.parametrize("changed", [{}, {"mask": HALF}, {"inversion": DDIMInversion()}])
def test_the_planners_reductions_change_nothing(changed: dict[str, Any]):
    assert_reductions_exact(plugin(), **EDIT, **changed)


def test_runs_repeat():
    assert_deterministic(plugin(maps=2), **EDIT)
