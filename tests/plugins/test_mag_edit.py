"""MAG-Edit without any engine: masks, weights, losses and guides; and a run on a known loss."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.controls import Branch, Guide, Mix, Route, Watch
from scumble.errors import OptionError, PromptError
from scumble.hookspecs import RunView, StepView
from scumble.options import check_options
from scumble.plans import Plan
from scumble.schedulers import DDIM, SchedulerConfig
from scumble.sites import Kind, Place, Site, SiteTable
from scumble.words import Tokenizer
from scumble_bench.rooms.tokenizer import save_tokenizer
from scumble_plugins.mag_edit import MagEdit, MagEditOptions, on_grid, token_weights

CAT, DOG = "a red cat on a sofa", "a blue cat on a sofa"
PLACES: list[tuple[Place, int]] = [("down", 1), ("down", 4), ("mid", 8), ("up", 4), ("up", 2)]
STEPS = 50
RELEASED: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def table() -> SiteTable:
    kinds: tuple[Kind, ...] = ("self", "cross")
    return SiteTable(
        tuple(
            Site(i, f"{place}.{i}.{kind}", kind, place, stride, 8, 2)
            for kind in kinds
            for i, (place, stride) in enumerate(PLACES)
        ),
        (64, 64),
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, f"{CAT} {DOG} vase".split())
    return Tokenizer.load(folder)


@pytest.fixture
def view(tokenizer: Tokenizer) -> Callable[..., RunView]:
    mask = np.zeros((64, 64), np.float32)
    mask[8:24, 16:40] = 1

    def never(*_: Any) -> Any:
        raise AssertionError("no row is needed")

    def make(target: str = DOG, mask: np.ndarray | None = mask, **changed: Any) -> RunView:
        view = RunView(
            steps=STEPS, guidance=7.5, source=tokenizer.encode(CAT),
            targets=(tokenizer.encode(target),), sites=table(), latent=(64, 64),
            scheduler=DDIM(SchedulerConfig(**RELEASED), STEPS),
            seed=0, image=None, mask=mask, masks={}, predict=never, look=never,
            encode=tokenizer.encode,
        )  # fmt: skip
        return replace(view, **changed)

    return make


def plan(run: RunView, **options: Any) -> Plan:
    given = check_options(MagEditOptions, {"words": "blue", **options}, "mag_edit")
    return MagEdit(given).scumble_plan(run)


def guides(run: RunView, **options: Any) -> list[Guide]:
    return [c for c in plan(run, **options).controls if isinstance(c, Guide)]


class TestMasks:
    def test_a_cell_is_on_where_half_of_it_is(self):
        mask = np.zeros((8, 8))
        mask[:4, :2] = mask[4:, 4:7] = 1
        mask[7, 0] = 1
        found = on_grid(mask, 4)
        assert found.shape == (8, 8)
        np.testing.assert_array_equal(found[::4, ::4], [[1, 0], [0, 1]])
        assert (found[4:, 4:] == 1).all()

    def test_a_small_thing_does_not_vanish(self):
        mask = np.zeros((8, 8))
        mask[5, 6] = 1
        np.testing.assert_array_equal(on_grid(mask, 4)[::4, ::4], [[0, 0], [0, 1]])

    def test_sizes_that_a_stride_does_not_divide(self):
        mask = np.zeros((7, 9))
        mask[4:, 8:] = 1
        assert on_grid(mask, 4).shape == (7, 9)
        assert on_grid(mask, 4)[6, 8] == 1

    def test_each_word_has_its_own_or_the_one_without_a_name(self, view: Callable[..., RunView]):
        other = np.zeros((64, 64), np.float32)
        other[40:, 40:] = 1
        run = view(masks={"sofa": other})
        (guide,) = guides(run, words=["blue", "sofa"])
        masks = [term.mask for term in guide.terms]
        assert masks[0][10, 20] == 1
        assert masks[0][50, 50] == 0
        assert masks[1][10, 20] == 0
        assert masks[1][50, 50] == 1
        assert run.mask is not None
        np.testing.assert_array_equal(guide.within, np.maximum(other, run.mask))

    def test_masks_of_its_words_are_taken_and_no_others(self):
        plugin = MagEdit(MagEditOptions(words=("blue", "sofa")))
        taken = {name: plugin.takes_mask(name) for name in ("", "blue", "sofa", "vase")}
        assert taken == {"": True, "blue": True, "sofa": True, "vase": False}

    def test_none_is_refused(self, view: Callable[..., RunView]):
        with pytest.raises(OptionError, match="no mask for 'blue'"):
            plan(view(mask=None))


class TestInjection:
    def test_it_is_refinement_in_the_released_windows(self, view: Callable[..., RunView]):
        found = plan(view()).controls
        (mix,) = [c for c in found if isinstance(c, Mix)]
        (route,) = [c for c in found if isinstance(c, Route)]
        assert (mix.at == [0] * 40 + [-1] * 10).all()
        new = view().targets[0].tokens_of("blue")
        np.testing.assert_array_equal(np.flatnonzero(mix.own[0]), new)
        assert route.steps.sum() == 25
        assert route.query == route.key == Branch(0)
        assert route.value is None
        # 32x32 of a 64x64 latent and coarser.
        assert [PLACES[site][1] for site in route.sites] == [4, 8, 4, 2]

    def test_kinds_set_what_is_not_set(self, view: Callable[..., RunView]):
        (route,) = [c for c in plan(view(), kind="addition").controls if isinstance(c, Route)]
        assert route.steps.sum() == 12
        assert len(guides(view(), kind="addition")) == 2
        assert len(guides(view(), kind="addition", ratio="token")) == 1


class TestGuides:
    def test_the_released_code_is_the_default(self, view: Callable[..., RunView]):
        run = view()
        (guide,) = guides(run)
        assert guide.branch == Branch(1)
        assert (guide.iterations, guide.stop, guide.constant) == (15, None, 0)
        assert guide.steps.sum() == 25
        assert guide.steps[:25].all()
        # Noise levels of the released schedule at steps 0, 10 and 24, times 2.5.
        np.testing.assert_allclose(guide.rate[[0, 10, 24]] / 2.5, [13.12, 4.69, 1.62], atol=0.006)
        assert [PLACES[site] for site in guide.sites] == [("down", 4), ("up", 4)]
        (term,) = guide.terms
        assert (term.kind, term.weight, term.text) == ("token", 1, None)
        np.testing.assert_array_equal(term.words, token_weights(run.targets[0], "blue"))
        assert (np.asarray(term.rest) == 1).all()

    def test_space_is_three_minus_four_r(self, view: Callable[..., RunView]):
        (guide,) = guides(view(), ratio="space")
        (term,) = guide.terms
        assert guide.constant == 3
        assert term.weight == -4
        assert (guide.rate == 2.5).all()

    def test_in_sequence_each_ends_at_its_threshold(self, view: Callable[..., RunView]):
        space, token = guides(view(), ratio="sequence")
        assert space.terms[0].kind == "space"
        assert token.terms[0].kind == "token"
        assert space.stop is not None
        assert (space.stop == 2).all()
        assert token.stop is not None
        assert token.stop[[0, 9, 10, 19, 20, 24]].tolist() == [0.95, 0.95, 0.96, 0.96, 0.97, 0.97]

    def test_joint_steps_are_as_large_as_those_of_each(self, view: Callable[..., RunView]):
        run = view()
        (token,), (space,) = guides(run), guides(run, ratio="space")
        found = guides(run, ratio="joint")
        assert len(found) == 25
        for index, guide in enumerate(found):
            assert np.flatnonzero(guide.steps).tolist() == [index]
            by_kind = {term.kind: term.weight * guide.rate[index] for term in guide.terms}
            assert by_kind["space"] == pytest.approx(space.terms[0].weight * space.rate[index])
            assert by_kind["token"] == pytest.approx(token.rate[index])

    def test_a_suppressed_word_pulls_the_other_way(self, view: Callable[..., RunView]):
        run = view()
        (guide,) = guides(run, suppress={"blue": "red"})
        raised, lowered = guide.terms
        assert lowered.text == CAT
        assert lowered.weight == pytest.approx(-5.5 / 2.5 * raised.weight)
        np.testing.assert_array_equal(lowered.words, token_weights(run.encode(CAT), "red"))
        (guide,) = guides(run, ratio="space", suppress={"blue": "red"})
        assert guide.terms[1].weight == pytest.approx(2 * 4)

    def test_words_share_what_is_not_given(self, view: Callable[..., RunView]):
        (guide,) = guides(view(), words=["blue", "cat", "sofa"], word_weights={"cat": 0.8})
        assert [term.weight for term in guide.terms] == pytest.approx([0.1, 0.8, 0.1])

    def test_the_start_token_can_be_left_out(self, view: Callable[..., RunView]):
        (guide,) = guides(view(), drop_start=True)
        rest = np.asarray(guide.terms[0].rest)
        assert rest[0] == 0
        assert (rest[1:] == 1).all()

    @pytest.mark.parametrize(
        ("options", "error", "said"),
        [
            ({"words": ()}, OptionError, "needs words"),
            ({"words": "vase"}, PromptError, "vase"),
            ({"word_weights": {"cat": 0.5}}, OptionError, "not among its words"),
            ({"suppress": {"cat": "vase"}}, OptionError, "not among its words"),
            ({"guide_window": 0.01}, OptionError, "guides no step"),
        ],
    )
    def test_what_cannot_work(
        self, view: Callable[..., RunView], options: dict[str, Any], error: type, said: str
    ):
        with pytest.raises(error, match=said):
            plan(view(), **options)


def test_late_steps_are_the_sources_outside_the_grown_mask(view: Callable[..., RunView]):
    run = view()
    assert any(isinstance(c, Watch) and c.picture == 0 for c in plan(run).controls)
    plugin = MagEdit(MagEditOptions(words=("blue",)))
    latents: Mapping[int, np.ndarray] = {0: np.zeros((4, 64, 64)), 1: np.ones((4, 64, 64))}
    assert plugin.scumble_after_step(run, StepView(34, latents)) is None
    found = plugin.scumble_after_step(run, StepView(35, latents))
    assert found is not None
    changed = found[1][0]
    assert changed[7:25, 15:41].all()
    assert changed.sum() == 18 * 26
