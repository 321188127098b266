"""LEDITS++ on the fake engine: masks, plans, guidance, what it refuses and what it costs."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scumble import Also, Branch, GuidedNoise, OptionError, PromptError, Read
from scumble.host import Host
from scumble.options import check_options
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    fake_session,
    run_plugin,
)
from scumble_plugins.ddim_inversion import DDIMInversion
from scumble_plugins.ledits_pp import LeditsPP, LeditsPPOptions, highest, smoothed

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
HALF = np.zeros((64, 64), bool)
HALF[:, :24] = True
EDIT: dict[str, Any] = {"image": PICTURE, "steps": 8, "source": ""}
TWO = {"red dog": 4.0, "vase": -3.0}


def plugin(**options: Any) -> LeditsPP:
    return LeditsPP(check_options(LeditsPPOptions, options, "ledits_pp"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"edits": {"dog": "much"}}, "edits"),
        ({"threshold": 1}, "threshold"),
        ({"masks": "none"}, "masks"),
        ({"skip": -0.1}, "skip"),
        ({"scale": 5}, "scale"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError, match=named):
        Host([("ledits_pp", options)])


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"image": None}, {}, "edits a picture"),
        ({"targets": ()}, {}, "needs a target prompt"),
        ({"guidance": 1.0}, {}, "is guidance, and 1 is none"),
        ({}, {"edits": {"dog": 0}}, "'dog' at scale 0"),
        ({}, {"edits": {" ": 5}}, "' ' at scale 5"),
        ({}, {"words": "cat", "threshold": 0}, "leave words out"),
        ({}, {"words": "cat", "masks": "noise"}, "leave words out"),
        ({"mask": {"sky": HALF}}, {}, "no mask named 'sky'"),
    ],
)
def test_what_would_do_nothing_is_refused(
    changed: dict[str, Any], options: dict[str, Any], message: str
):
    with pytest.raises(OptionError, match=message):
        run_plugin(plugin(**options), **{**EDIT, **changed})


def test_words_that_the_target_lacks_are_refused():
    with pytest.raises(PromptError, match="has no"):
        run_plugin(plugin(words="vase"), **EDIT)


def test_the_published_blur():
    """exp(-(d / (2 sigma))^2) with sigma 0.5, made to sum 1, and edges reflected."""
    point = np.zeros((3, 3))
    point[1, 1] = 1
    side = np.exp(-1.0)
    wanted = np.outer([side, 1, side], [side, 1, side])
    np.testing.assert_allclose(smoothed(point)[1, 1], wanted[1, 1] / wanted.sum())
    wide = np.zeros((5, 5))
    wide[2, 2] = 1
    np.testing.assert_allclose(smoothed(wide)[1:4, 1:4], wanted / wanted.sum())
    corner = np.zeros((4, 4))
    corner[1, 1] = 1
    np.testing.assert_allclose(smoothed(corner)[0, 0], 4 * side**2 / wanted.sum())
    np.testing.assert_allclose(smoothed(np.full((4, 6), 0.3)), 0.3)


def test_the_highest_are_at_or_above_the_quantile():
    field = np.arange(10.0).reshape(2, 5)
    assert np.flatnonzero(highest(field, 0.9)).tolist() == [9]
    assert np.flatnonzero(highest(field, 0.5)).tolist() == [5, 6, 7, 8, 9]
    assert highest(np.zeros((2, 2)), 0.9).all()


def test_rows_are_asked_for_further_edits_and_maps_of_every_one(tmp_path: Any):
    session = fake_session(tmp_path)
    encode = session.tokenizer.encode
    run: Any = SimpleNamespace(
        image=PICTURE, targets=(encode("a red cat"), encode("a dog")), guidance=5.0, steps=34,
        sites=session.info.sites, encode=encode,
    )  # fmt: skip
    found = plugin(edits=TWO, words=()).scumble_plan(run)
    assert found.start == 4  # of 34 steps the last 30 are taken, as published
    also = [control for control in found.controls if isinstance(control, Also)]
    reads = [control for control in found.controls if isinstance(control, Read)]
    assert [control.branch for control in also] == [
        Branch(1, "red dog"), Branch(1, "vase"), Branch(2, "red dog"), Branch(2, "vase")
    ]  # fmt: skip
    assert [(read.branch, np.flatnonzero(read.weights[0]).tolist()) for read in reads] == [
        (Branch(1), [1, 2, 3]), (Branch(1, "red dog"), [1, 2]), (Branch(1, "vase"), [1]),
        (Branch(2), [1, 2]), (Branch(2, "red dog"), [1, 2]), (Branch(2, "vase"), [1]),
    ]  # fmt: skip
    run.targets = run.targets[:1]
    (read,) = plugin(words="cat").scumble_plan(run).controls
    assert isinstance(read, Read)
    assert np.flatnonzero(read.weights[0]).tolist() == [3]
    assert plugin(masks="noise").scumble_plan(run).controls == ()


def noise_of(maps: np.ndarray | None = None, **also: np.ndarray) -> GuidedNoise:
    rng = np.random.default_rng(1)
    plain, text = rng.standard_normal((2, 4, 4, 4))
    reads = {} if maps is None else {"edit.1": maps[None]}
    return GuidedNoise(1, plain, text, plain + 5 * (text - plain), reads, also)


def guided(made: LeditsPP, noise: GuidedNoise, timestep: int, mask: Any = None) -> np.ndarray:
    config = SimpleNamespace(num_train_timesteps=1000)
    run: Any = SimpleNamespace(
        guidance=5.0, mask=mask, latent=(4, 4), scheduler=SimpleNamespace(config=config)
    )
    step: Any = SimpleNamespace(timestep=timestep)
    found = made.scumble_guidance(run, step, noise)
    assert found is not None
    return found


def test_in_the_first_fifth_attention_alone_makes_the_mask():
    looked = np.zeros((2, 2))
    looked[0, 0] = 1
    # A map of 2x2 smooths over all of it; the largest stays at its corner.
    made, noise = plugin(threshold=0.75), noise_of(looked)
    change = 5 * (noise.conditional - noise.unconditional)
    moved = guided(made, noise, 801) != noise.unconditional
    assert moved[:, :2, :2].all()
    assert not moved[:, 2:].any()
    assert not moved[:, :, 2:].any()
    both = (guided(made, noise, 800) != noise.unconditional).any(axis=0)
    size = np.abs(change).sum(axis=0)
    wanted = (size >= np.quantile(size, 0.75)) & moved.any(axis=0)
    assert np.array_equal(both, wanted)
    assert both.sum() < 4


def test_the_users_mask_bounds_every_edit():
    mask = np.zeros((4, 4), np.float32)
    mask[:, 1] = 1
    made = plugin(edits={"dog": 2.0}, threshold=0)
    other = np.random.default_rng(2).standard_normal((4, 4, 4))
    noise = noise_of(**{"edit.1.dog": other})
    found = guided(made, noise, 500, mask)
    u, c = noise.unconditional, noise.conditional
    np.testing.assert_allclose(found, u + mask * (5 * (c - u) + 2 * (other - u)))


def test_the_source_is_guided_as_ever():
    none = np.zeros((4, 4, 4))
    source = GuidedNoise(0, none, none, none)
    assert plugin().scumble_guidance(None, None, source) is None  # pyright: ignore[reportArgumentType]


def test_without_masks_it_is_the_plain_run():
    assert_neutral_is_identity(plugin(threshold=0, skip=0), **EDIT)


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one": ({}, {}),
    "two": ({"edits": TWO, "threshold": 0.6}, {}),
    "masked": ({"edits": TWO, "threshold": 0.5}, {"mask": HALF}),
    "words": ({"words": "cat", "threshold": 0.6, "masks": "attention"}, {"source": "a red cat"}),
    "noise": ({"masks": "noise", "threshold": 0.5}, {"inversion": DDIMInversion()}),
    "several": ({"edits": TWO, "threshold": 0.6}, {"targets": ("a blue cat", "a dog")}),
    "same": ({"edits": {"a blue cat": 2.0}, "threshold": 0.6}, {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_planners_reductions_change_nothing(name: str):
    options, changed = FORMS[name]
    assert_reductions_exact(plugin(**options), **{**EDIT, **changed})


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, {"inversion": 7, "read": 14}),
        ({"edits": TWO}, {"inversion": 7, "read": 28}),
        ({"edits": TWO, "masks": "noise", "skip": 0}, {"inversion": 8, "plain": 32}),
        # A further edit of the target's own words needs no row of its own.
        ({"edits": {"a blue cat": 2.0}, "masks": "noise"}, {"inversion": 7, "plain": 14}),
    ],
)
def test_one_row_a_step_and_one_an_edit(options: dict[str, Any], rows: dict[str, int]):
    assert run_plugin(plugin(**options), **EDIT).rows == rows


def test_a_scale_below_0_leads_the_other_way():
    def along(scale: float) -> np.ndarray:
        edits = {"edits": {"red dog": scale}, "threshold": 0, "skip": 0}
        return run_plugin(plugin(**edits), **{**EDIT, "steps": 1}).latents[1]

    more, less = along(2.0), along(-2.0)
    without = run_plugin(plugin(threshold=0, skip=0), **{**EDIT, "steps": 1}).latents[1]
    np.testing.assert_allclose(more - without, without - less, atol=1e-9)
    assert np.abs(more - without).max() > 1e-3


def test_runs_repeat():
    assert_deterministic(plugin(edits=TWO), **EDIT)
