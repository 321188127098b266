"""Prompt-to-Prompt without any engine: options, windows, S and d, plans, LocalBlend."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.controls import (
    Branch,
    Mix,
    Read,
    Route,
    Watch,
)
from scumble.errors import OptionError, PromptError
from scumble.hookspecs import RunView, StepView
from scumble.host import Host
from scumble.options import check_options
from scumble.plans import Plan
from scumble.schedulers import DDIM, SchedulerConfig
from scumble.sites import Kind, Place, Site, SiteTable
from scumble.words import Tokenizer
from scumble_bench.rooms.tokenizer import save_tokenizer
from scumble_plugins.prompt_to_prompt import (
    PromptToPrompt,
    PromptToPromptOptions,
    columns,
    pair,
    window,
)

Runs = Callable[..., RunView]
CAT = "a red cat on a sofa"
DOG = "a red dog on a sofa"
FLUFFY = "a fluffy red cat on a sofa with a vase"
PLACES: list[tuple[Place, int]] = [
    ("down", 1),
    ("down", 2),
    ("down", 4),
    ("mid", 8),
    ("up", 4),
    ("up", 2),
    ("up", 1),
]


def table(native: tuple[int, int] = (64, 64), middle: int = 8) -> SiteTable:
    """One block at each level of an SD1.x-like UNet: strides 1, 2, 4, then the middle's."""
    kinds: tuple[Kind, ...] = ("self", "cross")
    sites = [
        Site(i, f"{place}.{i}.{kind}", kind, place, middle if place == "mid" else stride, 8, 1)
        for kind in kinds
        for i, (place, stride) in enumerate(PLACES)
    ]
    return SiteTable(tuple(sites), native)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, f"{CAT} {DOG} {FLUFFY} purple blue".split())
    return Tokenizer.load(folder)


@pytest.fixture
def runs(tokenizer: Tokenizer) -> Runs:
    """Makes run views."""

    def make(
        source: str = CAT,
        targets: tuple[str, ...] = (DOG,),
        steps: int = 10,
        latent: tuple[int, int] = (64, 64),
        mask: np.ndarray | None = None,
        native: tuple[int, int] = (64, 64),
    ) -> RunView:
        return RunView(
            steps=steps,
            guidance=7.5,
            source=tokenizer.encode(source),
            targets=tuple(map(tokenizer.encode, targets)),
            sites=table(native),
            latent=latent,
            scheduler=DDIM(SchedulerConfig(beta_schedule="scaled_linear"), steps),
            seed=0,
            image=None,
            mask=mask,
            masks={},
            predict=lambda *_: np.zeros(0),
            look=lambda *_: np.zeros(0),
            encode=tokenizer.encode,
        )

    return make


def plugin(**options: Any) -> PromptToPrompt:
    return PromptToPrompt(check_options(PromptToPromptOptions, options, "prompt_to_prompt"))


def plan(run: RunView, **options: Any) -> Plan:
    return plugin(**options).scumble_plan(run)


def of_kind(found: Plan, kind: Any) -> list[Any]:
    return [control for control in found.controls if isinstance(control, kind)]


def the(found: Plan, kind: Any) -> Any:
    (control,) = of_kind(found, kind)
    return control


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"blend_word": ("cat",)}, "blend_word"),
        ({"cross_window": 1.1}, "cross_window"),
        ({"cross_window": -0.1}, "cross_window"),
        ({"cross_window": (0.2, 0.4, 0.6)}, "cross_window"),
        ({"cross_window": {"cat": 2.0}}, "cross_window"),
        ({"self_window": (0.0, 1.5)}, "self_window"),
        ({"self_window": float("nan")}, "self_window"),
        ({"self_stride": 0}, "self_stride"),
        ({"reweight": {"cat": float("inf")}}, "reweight"),
        ({"reweight": {"cat": "much"}}, "reweight"),
        ({"blend_threshold": 1.01}, "blend_threshold"),
        ({"subtract_threshold": -1}, "subtract_threshold"),
        ({"blend_start": 2}, "blend_start"),
        ({"mode": "refined"}, "mode"),
        ({"compat": ("shifted_tail",)}, "compat"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError) as error:
        Host([("prompt_to_prompt", options)])
    assert named in str(error.value)
    assert "\n" not in str(error.value)


def test_options_come_from_json_too():
    given = {"cross_window": [0, 1], "compat": ["self_32"], "blend_words": ["cat"], "mode": "auto"}
    made = PromptToPromptOptions.model_validate(given)
    assert made.cross_window == (0.0, 1.0)
    assert PromptToPromptOptions.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    "options",
    [
        {"cross_window": (0.6, 0.4)},
        {"self_window": (0.6, 0.4)},
        {"cross_window": {"dog": (0.9, 0.1)}},
    ],
)
def test_windows_that_end_before_they_start_are_refused(runs: Runs, options: dict[str, Any]):
    with pytest.raises(OptionError, match="ends before"):
        plan(runs(), **options)


@pytest.mark.parametrize(
    "options",
    [
        {"reweight": {"lion": 2.0}},
        {"cross_window": {"lion": 0.5}},
        {"blend_words": ("lion",)},
        {"blend_words": ("dog",), "subtract_words": ("lion",)},
        # A word of the source alone is none of the target's columns.
        {"reweight": {"cat": 2.0}},
        {"cross_window": {"cat": 0.5}},
    ],
)
def test_words_that_no_prompt_has_are_refused(runs: Runs, options: dict[str, Any]):
    with pytest.raises(PromptError, match=r"has no '(lion|cat)'"):
        plan(runs(), **options)


def test_one_prompt_may_lack_a_word(runs: Runs):
    run = runs(targets=(DOG, FLUFFY))
    found = plan(run, reweight={"fluffy": 3.0}, blend_words=("cat", "dog"))
    first, second = of_kind(found, Mix)
    assert set(np.unique(first.matrices)) <= {0.0, 1.0}
    assert 3.0 in second.own


def test_replace_needs_as_many_words(runs: Runs):
    with pytest.raises(PromptError, match="6 and the target 10"):
        plan(runs(targets=(FLUFFY,)), mode="replace")
    plan(runs(targets=(FLUFFY,)), mode="refine")
    plan(runs(targets=(FLUFFY,)))


def test_a_target_is_needed(runs: Runs):
    with pytest.raises(OptionError, match="target prompt"):
        plan(runs(targets=()))


def test_a_source_prompt_is_needed(runs: Runs):
    with pytest.raises(PromptError, match="needs a source prompt, and it is empty"):
        plan(runs(""))


def test_words_to_subtract_need_words_to_subtract_from(runs: Runs):
    with pytest.raises(OptionError, match="needs blend_words"):
        plan(runs(), subtract_words=("sofa",))


# Windows


def on(steps: int, *given: Any) -> list[int]:
    return np.flatnonzero(window(steps, *given)).tolist()


def test_a_window_is_a_range_of_steps():
    assert on(10, 0.4) == [0, 1, 2, 3]
    assert on(10, (0.2, 0.5)) == [2, 3, 4]
    assert on(10, (0.3, 0.3)) == []
    assert on(10, 0.0) == []
    assert on(10, 1.0) == list(range(10))
    assert on(50, 0.8) == list(range(40))


def test_a_decimal_share_is_not_rounded_down_by_its_binary_form():
    assert int(0.29 * 100) == 28
    assert on(100, 0.29) == list(range(29))
    for steps in range(1, 101):
        for k in range(101):
            assert len(on(steps, k / 100)) == floor(Fraction(k, 100) * steps), (steps, k)


@pytest.mark.parametrize("steps", range(4, 31))
def test_the_published_table_counts_one_step_more(steps: int):
    """Rows int(start (N + 1)) to int(end (N + 1)) - 1 of N + 1, of which N are used."""
    differ = 0
    for k in range(1, 101):
        share = k / 100
        rows = np.zeros(steps + 1, dtype=bool)
        rows[: int(share * (steps + 1))] = True
        counted = window(steps, share, steps + 1)
        assert np.array_equal(counted, rows[:steps])
        differ += not np.array_equal(counted, window(steps, share))
    assert 38 <= differ <= 60  # of 100: which rule is meant matters with few steps


def test_at_fifty_steps_both_rules_agree_on_what_people_use():
    for share in (*(k / 10 for k in range(1, 10)), 0.98):
        assert on(50, share) == on(50, share, 51)


# S and d


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """Source and target maps, (cells, tokens)."""
    rng = np.random.default_rng(1)
    raw = np.exp(rng.standard_normal((2, 9, 40)))
    source, target = raw / raw.sum(-1, keepdims=True)
    return source, target


def random_parts() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A swap M, a mapper with its alpha q, a window a, an equalizer c."""
    rng = np.random.default_rng(2)
    swap = rng.uniform(0, 1, (40, 40)) * (rng.uniform(0, 1, (40, 40)) > 0.8)
    swap[:, 7] = 0  # as the unshifted tail leaves columns
    mapper = rng.integers(-1, 40, 40)
    mapper[[3, 11]] = -1
    a = (rng.uniform(0, 1, 40) > 0.4).astype(float)
    a[[3, 7]] = 1
    a[11] = 0
    return swap, mapper, (mapper >= 0).astype(float), a, rng.uniform(-2, 5, 40)


@pytest.mark.parametrize(
    "name", ["replace", "refine", "reweight", "of refine", "of replace", "off"]
)
def test_every_controller_is_a_matrix_and_a_vector(maps: tuple[np.ndarray, np.ndarray], name: str):
    """The table of section 1.13, each line against the edit of the maps it stands for."""
    source, target = maps
    swap, mapper, q, a, c = random_parts()
    gather = np.zeros((40, 40))
    gather[mapper[mapper >= 0], np.flatnonzero(mapper >= 0)] = 1
    none, one = np.zeros(40, dtype=bool), np.ones(40)
    refined = source[:, mapper] * q + target * (1 - q)
    base, (matrix, own) = {
        "replace": (source @ swap, pair(swap, none, a, one)),
        "refine": (refined, pair(gather, q == 0, a, one)),
        "reweight": (source * c, pair(np.eye(40), none, a, c)),
        "of refine": (refined * c, pair(gather, q == 0, a, c)),
        "of replace": (source @ swap * c, pair(swap, none, a, c)),
        "off": (source, pair(swap, none, 0 * a, c)),
    }[name]
    on_now = 0 * a if name == "off" else a
    wanted = base * on_now + target * (1 - on_now)
    assert np.abs(source @ matrix + target * own - wanted).max() < 1e-14


def test_outside_its_window_a_mix_is_none(runs: Runs):
    mix = the(plan(runs(), cross_window=(0.2, 0.5)), Mix)
    assert [mix.pair(step) is not None for step in range(10)] == [
        2 <= step < 5 for step in range(10)
    ]


def test_words_have_windows_of_their_own(runs: Runs):
    run = runs()
    mix = the(plan(run, cross_window={"default": 0.8, "dog": (0.3, 0.5), "red": 0.1}), Mix)
    (dog,), (red,) = run.targets[0].tokens_of("dog"), run.targets[0].tokens_of("red")
    for step in range(10):
        pair_now = mix.pair(step)
        own = np.ones(40) if pair_now is None else pair_now[1]
        assert own[dog] == (0 if 3 <= step < 5 else 1)
        assert own[red] == (0 if step < 1 else 1)
        assert own[20] == (0 if step < 8 else 1)


def test_without_a_default_the_other_words_have_the_usual_window(runs: Runs):
    """The published code takes (0, 1) here, and 0.8 where no word is named; ours is 0.8 in both."""
    run = runs()
    mix, usual = the(plan(run, cross_window={"dog": 0.0}), Mix), the(plan(run), Mix)
    (dog,) = run.targets[0].tokens_of("dog")
    for step in range(10):
        pairs = mix.pair(step), usual.pair(step)
        assert (pairs[0] is None) == (pairs[1] is None) == (step >= 8)
        if pairs[0] is not None and pairs[1] is not None:
            assert np.flatnonzero(pairs[0][1] != pairs[1][1]).tolist() == [dog]


def test_later_words_overwrite_earlier_ones(runs: Runs):
    run = runs()
    mix = the(plan(run, cross_window={"default": 0.0, "red dog": 1.0, "red": 0.0}), Mix)
    (red,) = run.targets[0].tokens_of("red")
    (dog,) = run.targets[0].tokens_of("dog")
    assert mix.own[mix.at[0]][red] == 1
    assert mix.own[mix.at[0]][dog] == 0


def test_the_unshifted_tail_of_a_longer_source_leaves_columns_empty(runs: Runs):
    """They are empty in the published code, not the target's own."""
    longer = "a purple cat on a sofa"
    mix = the(plan(runs(longer, (CAT,)), compat=("unshifted_tail",)), Mix)
    matrix, own = mix.pair(0)
    assert not matrix[:, -1].any()
    assert own[-1] == 0
    matrix, own = the(plan(runs(longer, (CAT,))), Mix).pair(0)
    assert matrix[:, -1].sum() == 1
    assert own[-1] == 0


def test_a_word_of_two_tokens_takes_half_of_one_each(runs: Runs):
    run = runs(CAT, ("a purple cat on a sofa",))
    mix = the(plan(run), Mix)
    (red,) = run.source.tokens_of("red")
    both = run.targets[0].tokens_of("purple")
    assert len(both) == 2
    assert mix.matrices[mix.at[0]][red, list(both)].tolist() == [0.5, 0.5]


def test_one_pair_serves_many_steps(runs: Runs):
    mix = the(plan(runs(steps=50), cross_window={"default": 0.8, "dog": 0.4}), Mix)
    assert len(mix.matrices) == 3
    assert mix.at.shape == (50,)


# Plans


def test_targets_take_self_attention_at_16x16_and_coarser(runs: Runs):
    route = the(plan(runs(), self_window=(0.2, 0.6)), Route)
    assert route.sites == (2, 3, 4)
    assert np.flatnonzero(route.steps).tolist() == [2, 3, 4, 5]
    assert (route.branch, route.query, route.key, route.value) == (
        Branch(1), Branch(0), Branch(0), None
    )  # fmt: skip
    assert the(plan(runs(), self_stride=1), Route).sites == tuple(range(7))
    assert the(plan(runs(), self_stride=8), Route).sites == (3,)
    assert the(plan(runs(), compat=("self_32",)), Route).sites == (1, 2, 3, 4, 5)


def test_self_attention_at_no_site_or_step_is_not_planned(runs: Runs):
    assert not of_kind(plan(runs(), self_window=0.0), Route)
    assert not of_kind(plan(runs(), self_stride=16), Route)


def test_sites_are_those_of_the_native_size_whatever_the_picture(runs: Runs):
    run = runs(latent=(32, 96))
    assert the(plan(run), Route).sites == (2, 3, 4)
    assert the(plan(runs(native=(32, 32))), Route).sites == (1, 2, 3, 4, 5)


def test_the_cross_window_may_count_a_step_more(runs: Runs):
    run = runs(steps=6)
    assert [len(np.flatnonzero(the(plan(run, cross_window=0.29, compat=compat), Mix).at
                               != the(plan(run, cross_window=0.0), Mix).at[-1]))
            for compat in ((), ("extra_step",))] == [1, 2]  # fmt: skip
    # The self window counts the steps themselves in either case.
    for compat in ((), ("extra_step",)):
        assert the(plan(run, self_window=0.29, compat=compat), Route).steps.sum() == 1


def test_each_target_has_controls_of_its_own(runs: Runs):
    found = plan(runs(targets=(DOG, FLUFFY)), blend_words=("cat", "dog"))
    assert [control.branch for control in of_kind(found, Mix)] == [Branch(1), Branch(2)]
    assert [control.branch for control in of_kind(found, Route)] == [Branch(1), Branch(2)]
    assert [c.name for c in of_kind(found, Read)] == ["blend.0", "blend.1", "blend.2"]
    assert [c.branch for c in of_kind(found, Read)] == [Branch(p) for p in range(3)]
    assert [c.picture for c in of_kind(found, Watch)] == [0]


def test_blend_reads_the_words_at_16x16_outside_the_middle(runs: Runs):
    run = runs()
    found = plan(run, blend_words=("cat", "dog"), subtract_words=("sofa",))
    source, target = of_kind(found, Read)
    assert source.sites == target.sites == (2, 4)
    # Nor does the middle count where it is as fine as the others.
    flat = replace(run, sites=table(middle=4))
    assert of_kind(plan(flat, blend_words=("dog",)), Read)[0].sites == (2, 4)
    assert source.steps.all()
    for read, prompt, word in ((source, run.source, "cat"), (target, run.targets[0], "dog")):
        assert [np.flatnonzero(vector).tolist() for vector in read.weights] == [
            list(prompt.tokens_of(word)),
            list(prompt.tokens_of("sofa")),
        ]


def test_a_token_named_twice_counts_once(runs: Runs):
    for words in (("dog", "red dog", "dog"), ("red dog",)):
        source, target = of_kind(plan(runs(), blend_words=words), Read)
        assert target.weights.max() == 1
        assert target.weights.sum() == 2
        assert not source.weights.any()


def test_a_run_without_blending_reads_and_watches_nothing(runs: Runs):
    found = plan(runs())
    assert not of_kind(found, Read)
    assert not of_kind(found, Watch)


def test_columns_of_a_word_are_those_of_all_its_places(tokenizer: Tokenizer):
    prompts = [tokenizer.encode("a red cat on a sofa"), tokenizer.encode("a blue cat")]
    first, second = columns(prompts, "a")
    assert np.flatnonzero(first).tolist() == [1, 5]
    assert np.flatnonzero(second).tolist() == [1]
    assert not columns(prompts, "blue")[0].any()


# LocalBlend


def latents(pictures: int = 2, size: tuple[int, int] = (8, 8)) -> dict[int, np.ndarray]:
    return {p: np.full((4, *size), float(p + 1)) for p in range(pictures)}


def field(size: tuple[int, int] = (8, 8), **peaks: float) -> np.ndarray:
    """A map that is 0.1 but for cells named as `at_row_column`."""
    made = np.full(size, 0.1)
    for name, value in peaks.items():
        row, column = map(int, name.split("_")[1:])
        made[row, column] = value
    return made


def reads(*fields: Any) -> dict[str, np.ndarray]:
    return {f"blend.{p}": np.asarray(vectors) for p, vectors in enumerate(fields)}


def blend(
    run: RunView, index: int, seen: Mapping[str, np.ndarray], made: PromptToPrompt
) -> dict[int, np.ndarray] | None:
    view = StepView(index, latents(len(run.targets) + 1, run.latent), seen)
    return made.scumble_after_step(run, view)


def changed(found: dict[int, np.ndarray] | None, picture: int = 1) -> list[tuple[int, int]]:
    """Cells that are not the source's; all four channels must agree."""
    assert found is not None
    kept = found[picture]
    assert np.isin(kept, (1.0, picture + 1.0)).all()
    assert (kept == kept[0]).all()
    return [(int(r), int(c)) for r, c in np.argwhere(kept[0] != 1)]


def around(row: int, column: int, size: int = 8) -> list[tuple[int, int]]:
    return [
        (r, c)
        for r in range(max(row - 1, 0), min(row + 2, size))
        for c in range(max(column - 1, 0), min(column + 2, size))
    ]


def test_the_picture_changes_around_the_maximum_only(runs: Runs):
    made = plugin(blend_words=("cat", "dog"), blend_start=0.0)
    seen = reads([field(at_2_2=1.0)], [field(at_2_2=1.0)])
    assert changed(blend(runs(latent=(8, 8)), 0, seen, made)) == around(2, 2)


def test_the_threshold_is_a_share_of_the_maximum(runs: Runs):
    run = runs(latent=(8, 8))
    seen = reads([field(at_1_1=2.0)], [field(at_1_1=2.0, at_6_6=1.0)])
    # Exactly at the threshold a cell stays: 1.0 is half of 2.0.
    for threshold, cells in (
        (0.49, sorted(around(1, 1) + around(6, 6))), (0.5, around(1, 1)), (1.0, [])
    ):  # fmt: skip
        made = plugin(blend_words=("dog",), blend_start=0.0, blend_threshold=threshold)
        assert changed(blend(run, 0, seen, made)) == cells
    everywhere = plugin(blend_words=("dog",), blend_start=0.0, blend_threshold=0.04)
    assert len(changed(blend(run, 0, seen, everywhere))) == 64


def test_where_the_source_looks_may_change_too(runs: Runs):
    made = plugin(blend_words=("cat", "dog"), blend_start=0.0)
    seen = reads([field(at_0_0=5.0)], [field(at_6_6=1.0)])
    found = changed(blend(runs(latent=(8, 8)), 0, seen, made))
    assert found == sorted(around(0, 0) + around(6, 6))


def test_subtracted_words_are_cut_out_unpooled_and_of_the_source_too(runs: Runs):
    made = plugin(
        blend_words=("dog",), subtract_words=("sofa",), blend_start=0.0, subtract_threshold=0.6
    )
    seen = reads(
        [field(at_4_4=1.0), field(at_5_5=1.0, at_4_3=0.5)],
        [field(at_4_4=1.0), field(at_3_3=1.0)],
    )
    found = changed(blend(runs(latent=(8, 8)), 0, seen, made))
    # (4, 3) stays in: 0.5 is under this threshold, and over that of the blend words.
    assert found == [cell for cell in around(4, 4) if cell not in ((3, 3), (5, 5))]


def test_maps_add_up_over_steps_and_count_from_the_first(runs: Runs):
    run = runs(latent=(8, 8))  # of 10 steps, so that blending starts at step 2
    made = plugin(blend_words=("cat", "dog"))
    early, late = field(at_1_1=9.0), field(at_6_6=4.0)
    assert blend(run, 0, reads([early], [early]), made) is None
    assert blend(run, 1, reads([late], [late]), made) is None
    assert changed(blend(run, 2, reads([late], [late]), made)) == sorted(
        around(1, 1) + around(6, 6)
    )
    forgetful = plugin(blend_words=("cat", "dog"))
    assert changed(blend(run, 2, reads([late], [late]), forgetful)) == around(6, 6)


@pytest.mark.parametrize(
    ("start", "steps", "first"), [(0.2, 50, 10), (0.29, 100, 29), (0.0, 5, 0), (0.5, 5, 2)]
)
def test_blending_starts_at_its_share_of_the_steps(
    runs: Runs, start: float, steps: int, first: int
):
    run = runs(latent=(8, 8), steps=steps)
    made = plugin(blend_words=("dog",), blend_start=start)
    seen = reads([field()], [field(at_1_1=9.0)])
    blended = [blend(run, index, seen, made) is not None for index in range(steps)]
    assert blended == [index >= first for index in range(steps)]


def test_maps_of_zero_keep_the_source_and_make_no_nan(runs: Runs):
    """0 / 0 in the published code; pytest turns a numpy warning into an error here."""
    made = plugin(blend_words=("dog",), subtract_words=("sofa",), blend_start=0.0)
    zero = np.zeros((8, 8))
    found = blend(runs(latent=(8, 8)), 0, reads([zero, zero], [zero, zero]), made)
    assert changed(found) == []
    assert found is not None
    assert np.isfinite(found[1]).all()


@pytest.mark.parametrize("latent", [(16, 16), (16, 24), (15, 23)])
def test_maps_are_enlarged_to_the_latent_by_nearest_cell(runs: Runs, latent: tuple[int, int]):
    grid = (-(-latent[0] // 4), -(-latent[1] // 4))
    peak = np.zeros(grid)
    peak[0, -1] = 1
    run = runs(latent=latent)
    made = plugin(blend_words=("dog",), subtract_words=("sofa",), blend_start=0.0)
    nothing = np.zeros(grid)
    cells = changed(blend(run, 0, reads([peak, nothing], [peak, nothing]), made))
    rows = {row for row, _ in cells}
    assert rows == set(range(len(rows)))
    assert len(cells) == len(rows) * len({column for _, column in cells})
    assert max(column for _, column in cells) == latent[1] - 1
    assert abs(len(rows) - 8) <= 1


def test_each_target_has_a_mask_of_its_own(runs: Runs):
    made = plugin(blend_words=("cat", "dog"), blend_start=0.0)
    run = runs(targets=(DOG, FLUFFY), latent=(8, 8))
    nothing = np.zeros((8, 8))
    found = blend(run, 0, reads([nothing], [field(at_1_1=9.0)], [field(at_6_6=9.0)]), made)
    assert found is not None
    assert set(found) == {1, 2}
    assert changed(found, 1) == around(1, 1)
    assert changed(found, 2) == around(6, 6)


def test_a_users_mask_stands_in_for_the_maps(runs: Runs):
    mask = np.zeros((8, 8), np.float32)
    mask[2:4, 3] = 1
    run = runs(targets=(DOG, FLUFFY), latent=(8, 8), mask=mask)
    found = plan(run)
    assert not of_kind(found, Read)
    assert the(found, Watch).picture == 0
    assert the(found, Watch).steps.all()
    made = plugin()
    assert blend(run, 1, {}, made) is None
    blended = blend(run, 2, {}, made)
    assert changed(blended, 1) == changed(blended, 2) == [(2, 3), (3, 3)]


def test_without_words_or_a_mask_latents_are_left_alone(runs: Runs):
    assert blend(runs(latent=(8, 8)), 9, {}, plugin()) is None
