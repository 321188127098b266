"""Winning blocks: scores, pools, the store, and the noise that is built of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import BlockGrid, Editor
from scumble.arrays import Floats
from scumble.errors import OptionError, PromptError
from scumble.hookspecs import RunView, hookimpl
from scumble.host import Host
from scumble.options import check_options
from scumble.testing import assert_deterministic, assert_reductions_exact, run_plugin
from scumble_plugins.noise_blocks import (
    BlockStore,
    NoiseBlocks,
    NoiseBlocksOptions,
    drawn,
    noise_of,
    pools,
    scored,
)

TEXT = "a red cat on a sofa"
LAYOUT = {"cat": (0, 0, 32, 32), "sofa": (16, 16, 64, 64)}
EDIT: dict[str, Any] = {"source": TEXT, "targets": (TEXT,), "steps": 3}
COARSE = 1  # the fake UNet's cross-attention of stride 2


class Kept(NoiseBlocks):
    """Keeps the noise that was built, and the run that it was for."""

    run: RunView
    built: Mapping[int, Floats]

    @hookimpl
    def scumble_initial_noise(self, run: RunView, noise: Mapping[int, Floats]) -> Any:
        self.run, self.built = run, super().scumble_initial_noise(run, noise)
        return self.built


def plugin(**options: Any) -> Kept:
    given = {"layout": LAYOUT, "win": 0.2, "lose": 0.6, **options}
    return Kept(check_options(NoiseBlocksOptions, given, "noise_blocks"))


def ran(changed: Mapping[str, Any] | None = None, **options: Any) -> Kept:
    made = plugin(**options)
    run_plugin(made, **{**EDIT, **(changed or {})})
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of eight noises at stride 2."""
    path = tmp_path / "blocks.json"
    ran(store=path, collect=8, map_site=COARSE)
    return path


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, "layout"),
        ({"layout": {}}, "layout"),
        ({"layout": LAYOUT, "win": 0}, "win"),
        ({"layout": LAYOUT, "lose": 1}, "lose"),
        ({"layout": LAYOUT, "collect": -1}, "collect"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError, match=named):
        Host([("noise_blocks", options)])


@pytest.mark.parametrize(
    ("changed", "options", "error", "message"),
    [
        ({"targets": ()}, {"collect": 1}, OptionError, "needs a target"),
        (
            {"image": np.zeros((64, 64, 3), np.uint8)},
            {"collect": 1},
            OptionError,
            "be lost; give n",
        ),
        ({}, {}, OptionError, "name a store, or how many to collect"),
        ({}, {"layout": {"dog": (0, 0, 8, 8)}, "collect": 1}, PromptError, "'dog'"),
        ({}, {"layout": {"cat": (0, 0, 8, 80)}, "collect": 1}, OptionError, "inside 64x64"),
        ({}, {"store": "nowhere/blocks.json", "collect": 1}, OptionError, "folder does not exist"),
        ({}, {"store": "nowhere/blocks.json"}, OptionError, "is no store of blocks"),
        ({}, {"map_site": 9, "collect": 1}, OptionError, "no map 9"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_row_is_spent(
    changed: dict[str, Any], options: dict[str, Any], error: Any, message: str
):
    class Early(Kept):
        @hookimpl
        def scumble_initial_noise(self, run: RunView, noise: Mapping[int, Floats]) -> Any:
            raise AssertionError("the run has begun")

    with pytest.raises(error, match=message) as found:
        run_plugin(Early(plugin(**options).options), **{**EDIT, **changed})
    assert "\n" not in str(found.value)


def test_prompts_that_lack_a_word_are_refused():
    with pytest.raises(PromptError, match="no 'sofa'"):
        ran(prompts="a cat", collect=1)


# Scores and pools


def test_scores_are_tendencies_from_0_to_1_averaged_over_prompts_that_have_the_word():
    made = ran(collect=1, map_site=COARSE)
    grid = BlockGrid.of(made.run, COARSE)
    noise = noise_of(3, (4, 8, 8))
    prompts = (TEXT, "a sofa", "a red table")
    found = scored(grid, noise, prompts, ["cat", "sofa"])

    def alone(text: str, word: str) -> Floats:
        field = grid.tendency(noise, made.run.encode(text), [word]).ravel()
        return (field - field.min()) / (field.max() - field.min())

    assert found.shape == (2, 16)
    assert np.abs(found[0] - alone(TEXT, "cat")).max() < 1e-12
    both = (alone(TEXT, "sofa") + alone("a sofa", "sofa")) / 2
    assert np.abs(found[1] - both).max() < 1e-12
    with pytest.raises(PromptError, match="'dog'"):
        scored(grid, noise, prompts, ["cat", "dog"])


def test_a_block_wins_one_word_alone_or_loses_every_word():
    cat = [0.9, 0.8, 0.7, 0.2, 0.1, 0.0, 0.3, 0.4]
    sofa = [0.9, 0.1, 0.0, 0.8, 0.2, 0.3, 0.4, 0.05]
    winners, losers = pools(np.array([cat, sofa]), 0.25, 0.5)
    assert [np.flatnonzero(row).tolist() for row in winners] == [[1], [3]]  # 0 wins both
    assert np.flatnonzero(losers).tolist() == [4]  # 5 does well as a sofa
    (row,), _ = pools(np.array([cat]), 0.25, 0.5)
    assert np.flatnonzero(row).tolist() == [0, 1]


def test_a_block_is_drawn_again_only_when_all_were():
    pool = np.array([True, False, True, True])
    for seed in range(5):
        found = drawn(pool, 7, np.random.default_rng(seed))
        assert set(found[:3]) == set(found[3:6]) == {0, 2, 3}
        assert found.shape == (7,)
    assert len({tuple(drawn(pool, 3, np.random.default_rng(seed))) for seed in range(9)}) > 1


# The store


def test_a_store_has_seeds_and_scores_and_no_noise(path: Path):
    store = BlockStore.model_validate_json(path.read_text())
    made = ran(store=path, map_site=COARSE)
    grid = BlockGrid.of(made.run, COARSE)
    assert (store.site, store.size) == (grid.site.path, (4, 4))
    assert store.prompts == (TEXT,)
    assert len(set(store.seeds)) == 8
    assert set(json.loads(path.read_text())) == {"site", "size", "prompts", "seeds", "scores"}
    for index in (0, 7):
        wanted = scored(grid, noise_of(store.seeds[index], (4, 8, 8)), [TEXT], list(LAYOUT))
        for word, row in zip(LAYOUT, wanted, strict=True):
            assert np.abs(np.array(store.scores[word][index]) - row).max() <= 0.5e-4
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_collecting_costs_a_look_a_noise_and_prompt_and_reading_one(path: Path):
    rows = run_plugin(plugin(collect=5, prompts=(TEXT, "a cat")), **EDIT).rows
    assert rows["look"] == 10
    assert run_plugin(plugin(store=path, map_site=COARSE), **EDIT).rows["look"] == 1


def test_a_store_gives_what_was_collected(path: Path):
    collected = ran(collect=8, map_site=COARSE)
    read = ran(store=path, map_site=COARSE)
    assert np.array_equal(read.built[1], collected.built[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda store: store.clear(), "no store of blocks"),
        (lambda store: store.update(seeds=[]), "no store of blocks"),
        (lambda store: store.update(extra=1), "no store of blocks"),
        (lambda store: store["scores"].pop("sofa"), "no blocks for 'sofa'"),
        (lambda store: store.update(size=[2, 8]), "another map or picture size"),
        (lambda store: store.update(site="elsewhere"), "another map or picture size"),
        (lambda store: store["scores"]["cat"].pop(), "no store of blocks"),
        (lambda store: store["scores"]["cat"][3].pop(), "no store of blocks"),
        (lambda store: store["scores"]["cat"][0].reverse(), "of another model"),
    ],
)
def test_a_store_that_does_not_fit_is_refused(path: Path, change: Any, message: str):
    store = json.loads(path.read_text())
    change(store)
    path.write_text(json.dumps(store))
    with pytest.raises(OptionError, match=message) as found:
        ran(store=path, map_site=COARSE)
    assert "\n" not in str(found.value)


def test_an_empty_pool_says_what_to_do():
    with pytest.raises(OptionError, match="no block of 1 noises loses every word; collect more"):
        ran(collect=1, lose=0.001, map_site=COARSE)
    # Two names for one word: what wins one wins both.
    same = {"cat": (0, 0, 8, 8), "cat#1": (32, 32, 64, 64)}
    with pytest.raises(OptionError, match="no block of 2 noises wins 'cat' and no other word"):
        ran(layout=same, collect=2)


# What is built


@pytest.mark.parametrize("site", [None, COARSE])
def test_boxes_hold_winners_and_the_rest_losers(site: int | None):
    made = ran(collect=6, map_site=site)
    grid = BlockGrid.of(made.run, site)
    rng = made.run.random().spawn(1)[0]
    seeds = [int(seed) for seed in rng.integers(2**63, size=6)]
    noises = [noise_of(seed, (4, 8, 8)) for seed in seeds]
    scores = np.stack([scored(grid, noise, [TEXT], list(LAYOUT)) for noise in noises], axis=1)
    winners, losers = pools(scores.round(4).reshape(2, -1), 0.2, 0.6)
    known = {
        block.tobytes(): index
        for index, block in enumerate(np.concatenate([grid.blocks(noise) for noise in noises]))
    }
    found = np.array([known[block.tobytes()] for block in grid.blocks(made.built[1])])
    boxes = grid.apart(LAYOUT).reshape(2, -1)
    for box, pool in zip(boxes, winners, strict=True):
        assert pool[found[box]].all()
    rest = ~boxes.any(axis=0)
    assert losers[found[rest]].all()
    assert len(set(found.tolist())) > 10


def test_a_box_that_is_the_picture_needs_no_losers():
    made = ran(layout={"cat": (0, 0, 64, 64)}, collect=1, lose=1e-6)
    assert made.built[1].shape == (4, 8, 8)


def test_the_seed_decides_and_standardizing_sets_mean_and_spread(path: Path):
    plain = ran(store=path, map_site=COARSE).built[1]
    other = ran({"seed": 1}, store=path, map_site=COARSE).built[1]
    assert not np.array_equal(plain, other)
    even = ran(store=path, map_site=COARSE, standardize=True).built[1]
    assert np.abs(even.mean(axis=(1, 2))).max() < 1e-12
    assert np.abs(even.std(axis=(1, 2)) - 1).max() < 1e-12
    assert np.abs(plain.mean(axis=(1, 2))).max() > 1e-2
    wanted = (plain - plain.mean(axis=(1, 2))[:, None, None]) / plain.std(axis=(1, 2))[
        :, None, None
    ]
    assert np.abs(even - wanted).max() < 1e-12


def test_runs_repeat_and_are_reduced_exactly():
    for changed in ({}, {"targets": (TEXT, "a cat on a blue sofa")}):
        assert_deterministic(plugin(collect=3), **{**EDIT, **changed})
        assert_reductions_exact(plugin(collect=3), **{**EDIT, **changed})


@pytest.mark.thorough
def test_on_the_demo_checkpoint_winners_win_where_they_are_put():
    """Blocks that were collected apart have their tendency together, and the word its place."""
    box, inside = (0, 64, 64, 128), np.s_[8:, :8]
    text = "a room with a blue ball"
    made = Kept(NoiseBlocksOptions(layout={"ball": box}, collect=8))
    with Editor.load("rooms", engine="onnxruntime") as editor:
        run = editor.edit(source=text, target=text, method=made, steps=6, seed=1)
        grid = BlockGrid.of(made.run)
        plain = made.run.random().standard_normal((4, 16, 16))
        fields = [
            grid.tendency(noise, made.run.targets[0], ["ball"])[0]
            for noise in (plain, made.built[1])
        ]
        fields += [run.maps.of("ball", picture).values for picture in (0, 1)]
    shares = [float(field[inside].sum() / field.sum()) for field in fields]
    assert shares[1] > 2 * shares[0]
    assert shares[3] > shares[2]
    assert shares[3] > 0.7
