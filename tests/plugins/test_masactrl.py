"""MasaCtrl without a real engine: options, masks, plans, and runs on the fake engine."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scumble.controls import Branch, Join, Read, Region, Route, Watch
from scumble.errors import OptionError, PromptError
from scumble.hookspecs import BeforeView, GuidedNoise, RunView
from scumble.host import Host
from scumble.options import check_options
from scumble.plans import Plan
from scumble.schedulers import DDIM
from scumble.sites import Kind, Place, Site, SiteTable
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    fake_session,
    run_plugin,
)
from scumble_plugins.ddim_inversion import DDIMInversion
from scumble_plugins.masactrl import MasaCtrl, MasaCtrlOptions, chosen, foreground, shrunk

Runs = Callable[..., RunView]
CAT, DOG = "a red cat", "a red dog"
WORDS = {"source_words": "cat", "target_words": "dog"}
EDIT = {"source": CAT, "targets": (DOG,), "steps": 5}


def blocks(*sizes: tuple[Place, int, int]) -> SiteTable:
    """A table of (place, stride, count) levels, of self- and cross-attention."""
    flat = [level[:2] for level in sizes for _ in range(level[2])]
    kinds: tuple[Kind, ...] = ("self", "cross")
    return SiteTable(
        tuple(
            Site(i, f"{place}.{i}.{kind}", kind, place, stride, 8, 1)
            for kind in kinds
            for i, (place, stride) in enumerate(flat)
        ),
        (64, 64),
    )


SD1 = blocks(
    ("down", 1, 2), ("down", 2, 2), ("down", 4, 2), ("mid", 8, 1),
    ("up", 4, 3), ("up", 2, 3), ("up", 1, 3),
)  # fmt: skip
SDXL = blocks(("down", 2, 4), ("down", 4, 20), ("mid", 4, 10), ("up", 4, 30), ("up", 2, 6))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Makes run views of an SD1.x-like UNet."""
    session = fake_session(tmp_path_factory.mktemp("fake"), words=["dog"])
    encode = session.tokenizer.encode

    def make(source: str = CAT, targets: tuple[str, ...] = (DOG,), **changed: Any) -> RunView:
        run = RunView(
            50, 7.5, encode(source), tuple(map(encode, targets)), SD1, (64, 64),
            DDIM(session.checkpoint.scheduler, 50), 0, None, None, {}, session.predict,
            session.look, encode,
        )  # fmt: skip
        return replace(run, **changed)

    return make


def plugin(**options: Any) -> MasaCtrl:
    return MasaCtrl(check_options(MasaCtrlOptions, options, "masactrl"))


def plan(run: RunView, **options: Any) -> Plan:
    return plugin(**options).scumble_plan(run)


def of_kind(found: Plan, kind: Any) -> list[Any]:
    return [control for control in found.controls if isinstance(control, kind)]


def steps_of(control: Any) -> list[int]:
    return np.flatnonzero(control.steps).tolist()


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"start_step": -1}, "start_step"),
        ({"layers": [-1]}, "layers"),
        ({"keep": "pose"}, "keep"),
        ({"text_keys": "target"}, "text_keys"),
        ({"mask_threshold": 1.5}, "mask_threshold"),
        ({"mask_stride": 0}, "mask_stride"),
        ({"masks": "now"}, "masks"),
        ({"proximal": "l0"}, "proximal"),
        ({"proximal_quantile": 2}, "proximal_quantile"),
        ({"start": 4}, "start"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError, match=named):
        Host([("masactrl", options)])


MASK = np.ones((64, 64), np.float32)


@pytest.mark.parametrize(
    ("changed", "options", "message"),
    [
        ({"targets": ()}, {}, "needs a target prompt"),
        ({"guidance": 1.0}, {}, "needs guidance"),
        ({}, {"text_keys": "none", "plain_keys": "none"}, "both 'none'"),
        ({}, {"keep": "layout", "plain_keys": "joint"}, "keep='layout'"),
        ({"mask": MASK}, {"keep": "layout"}, "keep='layout'"),
        ({"mask": MASK}, {"text_keys": "joint"}, "joint keys go without masks"),
        ({}, {"start_step": 51}, "number 51 of 0 to 49"),
        ({}, {"steps": (3, 50)}, "number 50 of 0 to 49"),
        ({}, {"start_layer": 16}, "controls no layer; this model has 0 to 15"),
        ({}, {"start_layer": 17}, "number 17 of 0 to 15"),
        ({}, {"layers": (16, 2)}, "number 16 of 0 to 15"),
        ({}, {"source_words": "cat"}, "both source_words and target_words"),
        ({}, {"target_words": "dog"}, "both source_words and target_words"),
        ({"mask": MASK}, WORDS, "not both"),
        ({"masks": {"source": MASK}}, {}, "got the names 'source'"),
        ({"masks": {"source": MASK, "target": MASK, "sky": MASK}}, {}, "'sky', 'source', 'target'"),
        ({"mask": MASK, "masks": {"source": MASK, "target": MASK}}, {}, "one mask without a name"),
        ({"masks": {"sky": MASK}}, {}, "got the names 'sky'"),
        ({}, {**WORDS, "mask_stride": 16}, "no map of stride 16 is there to be read; set another "),
        ({}, {**WORDS, "masks": "exact", "start_layer": 4}, "stride 4 .* or masks to previous"),
    ],
)
def test_what_cannot_be_done_is_refused(
    runs: Runs, changed: dict[str, Any], options: dict[str, Any], message: str
):
    targets = changed.pop("targets", (DOG,))
    with pytest.raises(OptionError, match=message) as error:
        plan(runs(targets=targets, **changed), **options)
    assert "\n" not in str(error.value)


def test_words_that_a_prompt_lacks_are_refused(runs: Runs):
    for options in ({**WORDS, "target_words": ("dog", "cat")}, {**WORDS, "source_words": "dog"}):
        with pytest.raises(PromptError, match="has no"):
            plan(runs(), **options)


def test_named_indices_or_all_from_a_start_on():
    assert chosen((), None, 4 / 50, 50) == list(range(4, 50))
    assert chosen((), None, 4 / 50, 25) == list(range(2, 25))
    assert chosen((), 7, 4 / 50, 10) == [7, 8, 9]
    assert chosen((), 10, 4 / 50, 10) == []
    assert chosen((5, 2, 5), 7, 4 / 50, 10) == [2, 5]


# Masks and the threshold


def test_the_foreground_is_what_lies_high_in_the_maps_range():
    field = np.array([[1.0, 2.0, 3.0, 5.0]])
    assert foreground(field, 0.5, (1, 4)).tolist() == [[0, 0, 1, 1]]
    assert foreground(field, 0.51, (1, 4)).tolist() == [[0, 0, 0, 1]]
    assert foreground(field, 0.25, (1, 4)).tolist() == [[0, 1, 1, 1]]
    # As the published code normalises it, whatever offset and scale.
    assert foreground(field * 1e-4 + 3, 0.5, (2, 8))[1].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_a_flat_map_is_all_foreground():
    assert foreground(np.full((2, 2), 0.3), 0.1, (4, 4)).all()


def test_soft_and_hard_thresholds():
    change = np.array([-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 6.0, -1.0])
    limit = np.quantile(np.abs(change), 0.5)
    assert limit == 2
    assert shrunk(change, "hard", 0.5).tolist() == [-4, 0, 0, 0, 0, 0, 3, 6, 0]
    assert shrunk(change, "soft", 0.5).tolist() == [-2, 0, 0, 0, 0, 0, 1, 4, 0]
    # As published, under the name l0.
    assert np.array_equal(shrunk(change, "soft", 0.5), change - change.clip(-limit, limit))


def test_guidance_is_shrunk_for_targets_alone(runs: Runs):
    rng = np.random.default_rng(0)
    plain, text = rng.standard_normal((2, 4, 8, 8))
    for picture in (0, 1):
        noise = GuidedNoise(picture, plain, text, plain + 7.5 * (text - plain))
        found = plugin(proximal="soft").scumble_guidance(runs(), noise)
        assert plugin().scumble_guidance(runs(), noise) is None
        if picture == 0:
            assert found is None
        else:
            assert found is not None
            wanted = plain + 7.5 * shrunk(text - plain, "soft", 0.6)
            assert np.abs(found - wanted).max() < 1e-12


def test_guidance_that_another_plugin_changed_is_not_undone(runs: Runs):
    plain, text = np.random.default_rng(0).standard_normal((2, 4, 8, 8))
    noise = GuidedNoise(1, plain, text, plain + 7.5 * 0.9 * (text - plain))
    with pytest.raises(OptionError, match="takes the place of what another plugin makes"):
        plugin(proximal="soft").scumble_guidance(runs(), noise)
    assert plugin().scumble_guidance(runs(), noise) is None


# Plans


@pytest.mark.parametrize(
    ("sites", "layers"), [(SD1, list(range(10, 16))), (SDXL, list(range(44, 70)))]
)
def test_the_published_defaults(runs: Runs, sites: SiteTable, layers: list[int]):
    """S=4 of 50; L=10 of 16, and 44 of 70."""
    first, second = plan(runs(sites=sites)).controls
    for control, text in ((first, True), (second, False)):
        assert isinstance(control, Route)
        assert (control.branch, control.query) == (Branch(1, text), None)
        assert control.key == control.value == Branch(0, text)
        assert list(control.sites) == layers
        assert steps_of(control) == list(range(4, 50))


def test_the_mirror_image_takes_queries_and_keys(runs: Runs):
    for control in of_kind(plan(runs(), keep="layout"), Route):
        source = Branch(0, control.branch.text)
        assert (control.query, control.key, control.value) == (source, source, None)


def test_each_half_of_each_target_has_keys_of_its_own(runs: Runs):
    found = plan(runs(targets=(DOG, CAT)), text_keys="joint", plain_keys="source")
    assert [(c.branch, c.other) for c in of_kind(found, Join)] == [
        (Branch(p), Branch(0)) for p in (1, 2)
    ]
    assert [c.branch for c in of_kind(found, Route)] == [Branch(p, False) for p in (1, 2)]


def test_user_masks_bound_what_is_seen(runs: Runs):
    first, second = np.zeros((2, 64, 64), np.float32)
    first[:32], second[:, :32] = 1, 1
    named = plan(runs(masks={"source": first, "target": second}), plain_keys="none")
    (region,) = of_kind(named, Region)
    assert np.array_equal(region.query, second)
    assert np.array_equal(region.key, first)
    assert region.sites == tuple(range(10, 16))
    assert steps_of(region) == list(range(4, 50))
    regions = of_kind(plan(runs(mask=first)), Region)
    assert [r.branch for r in regions] == [Branch(1), Branch(1, False)]
    for region in regions:
        assert np.array_equal(region.query, first)
        assert np.array_equal(region.key, first)


def test_masks_of_words_read_the_step_before(runs: Runs):
    found = plan(runs(), **WORDS, start_step=0)
    for region in of_kind(found, Region):
        assert (region.query, region.key) == ("foreground.1", "foreground.0")
        assert steps_of(region) == list(range(1, 50))  # none is known at the first step of all
    reads = of_kind(found, Read)
    assert [(r.name, r.branch) for r in reads] == [
        ("foreground.0", Branch(0)), ("foreground.1", Branch(1))
    ]  # fmt: skip
    for read, prompt, word in zip(
        reads, (runs().source, runs().targets[0]), ("cat", "dog"), strict=True
    ):
        assert read.sites == (4, 5, 7, 8, 9)
        assert np.flatnonzero(read.weights[0]).tolist() == list(prompt.tokens_of(word))
        assert steps_of(read) == list(range(49))
    later = plan(runs(), **WORDS, steps=(7, 9))
    assert [steps_of(r) for r in of_kind(later, Region)] == [[7, 9], [7, 9]]
    assert [steps_of(r) for r in of_kind(later, Read)] == [[6, 8], [6, 8]]


def test_exact_masks_need_latents_and_maps_that_no_mask_changed(runs: Runs):
    found = plan(runs(targets=(DOG, DOG)), **WORDS, masks="exact", layers=(12, 8))
    assert not of_kind(found, Read)
    assert [w.picture for w in of_kind(found, Watch)] == [0, 1, 2]
    assert all(steps_of(r) == list(range(4, 50)) for r in of_kind(found, Region))
    # What is read before step 4 is the latent after step 3.
    assert all(steps_of(w) == list(range(3, 49)) for w in of_kind(found, Watch))
    asked: list[Any] = []

    def look(latent: Any, timestep: int, text: str, weights: Any, sites: Any) -> np.ndarray:
        asked.append((float(latent[0, 0, 0]), timestep, text, sites))
        return np.linspace(0, 1, 256).reshape(1, 16, 16)

    run = runs(targets=(DOG, "a dog"), look=look)
    made = plugin(**WORDS, masks="exact", layers=(12, 8), mask_threshold=0.5)
    latents = {p: np.full((4, 64, 64), float(p)) for p in range(3)}
    assert made.scumble_before_step(run, BeforeView(3, 900, latents)) is None
    masks = made.scumble_before_step(run, BeforeView(4, 900, latents))
    assert asked == [
        (0, 900, CAT, (4, 5, 7)),
        (1, 900, DOG, (4, 5, 7)),
        (2, 900, "a dog", (4, 5, 7)),
    ]
    assert masks is not None
    assert set(masks) == {"foreground.0", "foreground.1", "foreground.2"}
    assert all(mask[:32].sum() == 0 and mask[32:].all() for mask in masks.values())


def test_maps_of_others_are_no_masks(runs: Runs):
    reads = {"blend.0": np.ones((2, 16, 16)), "foreground.1": np.ones((1, 16, 16))}
    view = BeforeView(5, 900, {}, reads)
    assert set(plugin(**WORDS).scumble_before_step(runs(), view) or {}) == {"foreground.1"}
    assert plugin().scumble_before_step(runs(), view) is None


def test_a_run_that_controls_no_step_plans_nothing(runs: Runs):
    assert plan(runs(), start_step=50) == Plan()


# Runs


PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
HALF = np.zeros((64, 64), bool)
HALF[:, :24] = True
FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "generated": ({}, {}),
    "early": ({"start_step": 0, "start_layer": 0}, {}),
    "picture": ({}, {"image": PICTURE}),
    "no-words": ({}, {"image": PICTURE, "source": ""}),
    "several": ({}, {"targets": (DOG, "a blue dog"), "image": PICTURE}),
    "layout": ({"keep": "layout"}, {}),
    "joint": ({"text_keys": "joint", "plain_keys": "joint"}, {"image": PICTURE}),
    "soft": ({"proximal": "soft"}, {"image": PICTURE}),
    "hard": ({"proximal": "hard", "plain_keys": "none"}, {}),
    "masked": ({"start_layer": 1}, {"image": PICTURE, "mask": HALF}),
    "previous": ({**WORDS, "start_step": 2}, {"image": PICTURE}),
    "previous-early": ({**WORDS, "start_step": 0, "mask_threshold": 0.5}, {}),
    "exact": ({**WORDS, "masks": "exact", "start_step": 1, "mask_threshold": 0.5}, {}),
    "exact-picture": ({**WORDS, "masks": "exact"}, {"image": PICTURE}),
    "exact-free": (
        {**WORDS, "masks": "exact", "steps": (0, 1)},
        {"image": PICTURE, "inversion": DDIMInversion()}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_the_planners_reductions_change_nothing(name: str):
    options, changed = FORMS[name]
    assert_reductions_exact(plugin(**options), **{**EDIT, **changed})


@pytest.mark.parametrize("name", FORMS)
def test_every_form_changes_the_target_and_never_the_source(name: str):
    options, changed = FORMS[name]
    edited = run_plugin(plugin(**options), **{**EDIT, **changed})
    plain = run_plugin(None, **{**EDIT, **changed})
    for picture, latent in plain.latents.items():
        moved = float(np.abs(edited.latents[picture] - latent).max())
        assert (moved < 1e-12) if picture == 0 else (moved > 1e-4), (picture, moved)


def test_controlling_no_step_is_the_plain_run():
    assert_neutral_is_identity(plugin(start_step=5), **EDIT)
    assert_neutral_is_identity(plugin(start_step=5, **WORDS), image=PICTURE, **EDIT)


def test_runs_repeat():
    assert_deterministic(plugin(**WORDS, masks="exact"), **EDIT)


def test_masks_decide_what_is_seen():
    """Of masks that differ, one keeps what another lets through."""
    whole, half = (
        run_plugin(plugin(start_layer=0), image=PICTURE, mask=mask, **EDIT).latents[1]
        for mask in (np.ones_like(HALF), HALF)
    )
    plain = run_plugin(plugin(start_layer=0), image=PICTURE, **EDIT).latents[1]
    assert np.abs(whole - plain).max() < 1e-12
    assert np.abs(half - plain).max() > 1e-4


def test_masks_given_step_by_step_are_kept_for_maps_read_afterwards():
    run = run_plugin(plugin(**WORDS, start_step=1), image=PICTURE, **EDIT)
    assert run.maps["dog"].values.shape == (8, 8)
