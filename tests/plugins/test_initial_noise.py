"""Initial-noise editing: blends, the assignment of blocks, their moves, and whole runs."""

from collections.abc import Mapping
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from scumble import BlockGrid, Editor
from scumble.arrays import Floats
from scumble.errors import OptionError, PromptError
from scumble.hookspecs import RunView, hookimpl
from scumble.host import Host
from scumble.options import check_options
from scumble.plugins import Plugin
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    run_plugin,
)
from scumble_plugins.ddim_inversion import DDIMInversion
from scumble_plugins.initial_noise import (
    InitialNoise,
    InitialNoiseOptions,
    best_blocks,
    blended,
    moves,
)

CAT = "a red cat"
EDIT: dict[str, Any] = {"source": CAT, "targets": (CAT,), "steps": 3}
BOX = (16, 16, 48, 40)
INSIDE = np.s_[:, 2:5, 2:6]
PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
COARSE = 1  # the fake UNet's cross-attention of stride 2


def plugin(**options: Any) -> InitialNoise:
    return InitialNoise(check_options(InitialNoiseOptions, options, "initial_noise"))


class Kept(InitialNoise):
    """Keeps the noises, and the run that they were of."""

    before: Mapping[int, Floats]
    after: Mapping[int, Floats]
    run: RunView

    @hookimpl
    def scumble_initial_noise(self, run: RunView, noise: Mapping[int, Floats]) -> Any:
        self.run, self.before = run, noise
        self.after = super().scumble_initial_noise(run, noise)
        return self.after


def noises(changed: Mapping[str, Any] | None = None, **options: Any) -> Kept:
    """Run on the fake engine; return what the hook saw and gave."""
    made = Kept(check_options(InitialNoiseOptions, options, "initial_noise"))
    run_plugin(made, **{**EDIT, **(changed or {})})
    return made


def outside(latent: Floats, inside: Any = INSIDE) -> Floats:
    """The latent with zeros inside."""
    left = np.array(latent)
    left[inside] = 0
    return left


# Options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"strength": 1.1}, "strength"),
        ({"candidates": 0}, "candidates"),
        ({"repaint": [(0, 0, 8)]}, "repaint"),
        ({"repaint": [(-1, 0, 8, 8)]}, "repaint"),
        ({"layout": {"cat": (0, 0, 8, 8.5)}}, "layout"),
        ({"draw": -1}, "draw"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError, match=named):
        Host([("initial_noise", options)])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, OptionError, "boxes to repaint or a layout; give one"),
        ({"repaint": [BOX], "layout": {"cat": BOX}}, OptionError, "give one of them"),
        (
            {"layout": {"cat": BOX}, "keep_outside": True},
            OptionError,
            "keep_outside is for repaint",
        ),
        ({"repaint": [BOX], "candidates": 2}, OptionError, "give both or neither"),
        ({"repaint": [BOX], "repaint_word": "cat"}, OptionError, "give both or neither"),
        ({"repaint": [(0, 0, 65, 8)]}, OptionError, "inside 64x64 pixels"),
        ({"repaint": [BOX], "map_site": 3}, OptionError, "no map 3"),
        ({"layout": {"dog": BOX}}, PromptError, "'dog'"),
        ({"repaint": [BOX], "candidates": 2, "repaint_word": "dog"}, PromptError, "'dog'"),
        ({"layout": {"red": BOX, "cat": BOX}}, OptionError, "'cat' is covered"),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_row_is_spent(
    options: dict[str, Any], error: Any, message: str
):
    class Costly(Plugin):
        @hookimpl
        def scumble_invert(self) -> None:
            raise AssertionError("a picture was inverted")

    with pytest.raises(error, match=message):
        run_plugin(plugin(**options), image=PICTURE, inversion=Costly(), **EDIT)


def test_a_mask_is_refused():
    with pytest.raises(OptionError, match="no mask without a name"):
        run_plugin(
            plugin(repaint=[BOX]), image=PICTURE, mask=np.ones(PICTURE.shape[:2], bool), **EDIT
        )


def test_a_target_is_needed():
    with pytest.raises(OptionError, match="needs a target"):
        run_plugin(plugin(repaint=[BOX]), source=CAT, targets=())


# Blending


def test_variance_is_kept_about_the_mean():
    rng = np.random.default_rng(0)
    mean, spread = np.full((2, 1, 1), 3.0), np.full((2, 1, 1), 0.5)
    noise = mean + spread * rng.standard_normal((2, 400, 400))
    fresh = rng.standard_normal(noise.shape)
    for strength in (0.0, 0.3, 1.0):
        made = blended(noise, fresh, strength, mean, spread)
        assert abs(made.mean() - 3) < 0.01
        assert abs(made.std() - 0.5) < 0.005
        alike = np.corrcoef(made.ravel(), noise.ravel())[0, 1]
        assert abs(alike - (1 - strength) ** 0.5) < 0.01
    zero, one = np.zeros((2, 1, 1)), np.ones((2, 1, 1))
    paper = 0.7**0.5 * noise + 0.3**0.5 * fresh
    assert np.abs(blended(noise, fresh, 0.3, zero, one) - paper).max() < 1e-12
    assert np.array_equal(blended(noise, fresh, 0.0, mean, spread), noise)


# Which block goes to which word


def best_by_trying(scores: Floats, sizes: tuple[int, ...]) -> float:
    """The largest sum of scores, over every way to give blocks away."""
    labels = [word for word, size in enumerate(sizes) for _ in range(size)]
    ways = permutations(range(scores.shape[1]), len(labels))
    return max(sum(scores[w, b] for w, b in zip(labels, way, strict=True)) for way in ways)


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (3, 2), (1, 1, 1), (2, 1, 2), (3, 3), (1, 2, 3)])
def test_the_assignment_is_the_best_there_is(sizes: tuple[int, ...]):
    rng = np.random.default_rng(len(sizes) * 10 + sum(sizes))
    for trial in range(8):
        # A few values make ties; an own offset for each block makes words contend for the same.
        scores = rng.integers(0, 4, (len(sizes), 6)).astype(float)
        if trial % 2:
            scores = rng.random((len(sizes), 6)) + 3 * rng.random(6)
        owner = best_blocks(scores, sizes)
        assert [int((owner == word).sum()) for word in range(len(sizes))] == list(sizes)
        assert set(owner.tolist()) <= {-1, *range(len(sizes))}
        found = sum(scores[word, block] for block, word in enumerate(owner) if word >= 0)
        assert abs(found - best_by_trying(scores, sizes)) < 1e-9


def test_greed_is_not_enough():
    """The first word's best block is the second's only good one."""
    scores = np.array([[10.0, 9.0, 0.0], [9.5, 1.0, 0.0]])
    assert best_blocks(scores, (1, 1)).tolist() == [1, 0, -1]


@pytest.mark.parametrize("size", [1, 5, 7, 12, 16])
def test_one_word_takes_the_blocks_of_highest_rank_and_of_equal_ones_the_first(size: int):
    scores = np.array([2, 7, 7, 1, 7, 0, 7, 2, 2, 9, 0, 0, 7, 2, 3, 1], float)
    ranked = sorted(range(16), key=lambda block: (-scores[block], block))
    owner = best_blocks(scores[None] * 1e-3, (size,))
    assert sorted(np.flatnonzero(owner == 0)) == sorted(ranked[:size])


def test_a_map_that_says_nothing_still_fills_the_box():
    assert best_blocks(np.zeros((2, 6)), (2, 3)).tolist().count(-1) == 1


# How blocks move


def boxes_of(*places: tuple[int, ...], count: int = 16) -> np.ndarray:
    found = np.zeros((len(places), count), bool)
    for box, inside in zip(found, places, strict=True):
        box[list(inside)] = True
    return found


@pytest.mark.parametrize("seed", range(4))
def test_moves_are_a_permutation_that_puts_each_words_blocks_in_its_box(seed: int):
    rng = np.random.default_rng(seed)
    boxes = boxes_of((0, 1, 4, 5), (2, 3, 6), (12,))
    owner = best_blocks(rng.integers(0, 5, (3, 16)).astype(float), boxes.sum(axis=1).tolist())
    source = moves(owner, boxes, rng)
    assert sorted(source.tolist()) == list(range(16))
    for word, box in enumerate(boxes):
        assert set(source[box]) == set(np.flatnonzero(owner == word))
        stays = box & (owner == word)
        assert np.array_equal(source[stays], np.flatnonzero(stays))


def test_with_one_word_blocks_swap_in_pairs_and_the_rest_stays():
    scores = np.array([5, 5, 5, 5, 1, 1, 9, 9, 0, 0], float)  # ties at the edge of the rank
    boxes = boxes_of((4, 5, 6, 0), count=10)
    owner = best_blocks(scores[None], (4,))
    arriving = np.flatnonzero((owner == 0) & ~boxes[0])
    leaving = np.flatnonzero(boxes[0] & (owner != 0))
    assert (arriving.tolist(), leaving.tolist()) == ([1, 7], [4, 5])
    source = moves(owner, boxes, np.random.default_rng(0))
    assert np.array_equal(source[source], np.arange(10))
    assert sorted(source[[4, 5]].tolist()) == [1, 7]
    assert [b for b in range(10) if source[b] != b] == [1, 4, 5, 7]


def test_a_block_that_one_word_evicts_may_be_what_the_other_wants():
    boxes = boxes_of((0,), (1,), count=4)
    owner = np.array([1, -1, 0, -1])  # 0 goes to place 1, 2 to place 0, and 1 where 2 was
    assert moves(owner, boxes, np.random.default_rng(0)).tolist() == [2, 0, 1, 3]


# Re-painting


def test_the_noise_inside_is_new_and_outside_is_the_same():
    made = noises(repaint=[BOX])
    before, after = made.before[1], made.after[1]
    assert set(made.after) == {1}
    assert np.array_equal(outside(after), outside(before))
    # The run's own noise is the first that its seed gives, and must not be drawn again.
    assert (after[INSIDE] != before[INSIDE]).all()
    assert abs(np.corrcoef(after[INSIDE].ravel(), before[INSIDE].ravel())[0, 1]) < 0.3
    other = noises(repaint=[BOX], draw=1).after[1]
    assert (other[INSIDE] != after[INSIDE]).all()
    reseeded = noises({"seed": 7}, repaint=[BOX]).after[1]
    assert (reseeded[INSIDE] != after[INSIDE]).all()


def test_boxes_are_rounded_outward_to_blocks_and_add_up():
    made = noises(repaint=[(17, 17, 18, 18), (40, 8, 56, 16)], map_site=COARSE)
    changed = (made.after[1] != made.before[1]).all(axis=0)
    wanted = np.zeros((8, 8), bool)
    wanted[2:4, 2:4] = True
    wanted[0:2, 4:8] = True  # 40 and 56 lie inside blocks of 16 pixels
    assert np.array_equal(changed, wanted)


def test_strength_mixes_old_and_new():
    full, half, none = (noises(repaint=[BOX], strength=s) for s in (1.0, 0.5, 0.0))
    before = full.before[1]
    assert np.array_equal(none.after[1], before)
    mixed = 0.5**0.5 * before + 0.5**0.5 * full.after[1]
    assert np.abs((half.after[1] - mixed)[INSIDE]).max() < 1e-12


def test_of_the_candidates_the_one_is_taken_that_wants_the_word_most():
    """Candidates are the first draws of one generator, so more of them never do worse."""

    def mean(made: Kept, latent: Floats) -> float:
        grid = BlockGrid.of(made.run, COARSE)
        (field,) = grid.tendency(latent, made.run.targets[0], ["cat"])
        return float(field[1:3, 1:3].mean())

    box = (16, 16, 48, 48)
    shared: dict[str, Any] = {"repaint": [box], "repaint_word": "cat", "map_site": COARSE}
    means = [
        mean(made, made.after[1])
        for made in (
            noises(repaint=[box], map_site=COARSE),
            noises(**shared, candidates=4),
            noises(**shared, candidates=12),
        )
    ]
    assert means == sorted(means)
    assert means[2] > means[0] + 1e-3
    assert run_plugin(plugin(**shared, candidates=4), **EDIT).rows["look"] == 4


@pytest.mark.parametrize("box", [BOX, (16, 16, 24, 24)])
def test_new_noise_in_an_inverted_picture_has_the_moments_of_the_old(box: Any):
    made = noises({"image": PICTURE}, repaint=[box])
    before, after = made.before[1], made.after[1]
    plain = noises({"image": PICTURE}, repaint=[box], match_moments=False).after[1]
    few = box != BOX
    inside = np.s_[:, 2:3, 2:3] if few else INSIDE
    local = before[np.s_[:, 1:4, 1:4]] if few else before[INSIDE]
    mean, spread = (f(local, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    assert np.abs(after[inside] - (mean + spread * plain[inside])).max() < 1e-12
    assert np.abs(mean).max() > 0.05
    assert np.array_equal(outside(after, inside), outside(before, inside))
    # A generated source's noise has none to match, unless one asks for it.
    generated, asked = (noises(repaint=[box], match_moments=m).after[1] for m in (None, True))
    assert np.abs(generated - asked).max() > 1e-3
    assert np.array_equal(generated, noises(repaint=[box], match_moments=False).after[1])


@pytest.mark.parametrize("picture", [None, PICTURE])
def test_outside_is_the_sources_at_the_end_of_every_step_if_asked_for(picture: Any):
    source = {"image": picture} if picture is not None else {}
    edit = {**EDIT, "targets": ("a blue cat", "a red dog"), **source}
    kept = run_plugin(plugin(repaint=[BOX], keep_outside=True), **edit)
    free = run_plugin(plugin(repaint=[BOX]), **edit)
    own = kept.trajectory.latents[-1] if kept.trajectory is not None else kept.latents[0]
    for target in (1, 2):
        assert np.array_equal(outside(kept.latents[target]), outside(own))
        assert np.abs(kept.latents[target] - own)[INSIDE].max() > 1e-3
        assert np.abs(outside(free.latents[target]) - outside(own)).max() > 1e-3


# Layout


@pytest.mark.parametrize("site", [None, COARSE])
def test_a_layout_moves_blocks_of_one_noise(site: int | None):
    made = noises(layout={"cat": BOX}, map_site=site)
    before, after = made.before[1], made.after[1]
    assert np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))
    assert not np.array_equal(before, after)
    grid = BlockGrid.of(made.run, site)
    box = grid.boxed(BOX).ravel()
    (field,) = grid.tendency(before, made.run.targets[0], ["cat"])
    ranked = np.argsort(-field.ravel(), kind="stable")
    inside = {block.tobytes() for block in grid.blocks(after)[box]}
    assert inside == {block.tobytes() for block in grid.blocks(before)[ranked[: box.sum()]]}


def test_several_words_have_boxes_apart():
    layout = {"red": (0, 0, 32, 64), "cat": (16, 0, 48, 32)}
    made = noises(layout=layout)
    grid = BlockGrid.of(made.run)
    fields = grid.tendency(made.before[1], made.run.targets[0], list(layout))
    scores = fields / fields.mean(axis=(1, 2), keepdims=True)
    boxes = grid.apart(layout)
    owner = best_blocks(scores.reshape(2, -1), boxes.sum(axis=(1, 2)).tolist())
    blocks = {block.tobytes(): word for block, word in zip(
        grid.blocks(made.before[1]), owner, strict=True)}  # fmt: skip
    found = np.array([blocks[block.tobytes()] for block in grid.blocks(made.after[1])])
    for word, box in enumerate(boxes):
        assert (found[box.ravel()] == word).all()
    assert (found[~boxes.any(axis=0).ravel()] == -1).all()


def test_each_target_is_laid_out_by_its_own_words():
    made = noises({"targets": (CAT, "a blue cat")}, layout={"cat": BOX})
    assert set(made.after) == {1, 2}
    assert not np.array_equal(made.after[1], made.after[2])
    again = noises({"targets": (CAT, "a blue cat")}, layout={"cat": BOX}, draw=1)
    assert not np.array_equal(made.after[1], again.after[1])


# Runs

FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "repaint": ({"repaint": [BOX]}, {}),
    "kept": ({"repaint": [BOX], "keep_outside": True}, {}),
    "kept-picture": ({"repaint": [BOX], "keep_outside": True}, {"image": PICTURE}),
    "kept-free": (
        {"repaint": [BOX], "keep_outside": True}, {"image": PICTURE, "inversion": DDIMInversion()}),
    "candidates": ({"repaint": [BOX], "candidates": 3, "repaint_word": "cat"}, {"image": PICTURE}),
    "layout": ({"layout": {"cat": BOX}}, {"guidance": 1.0}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_repeats_and_is_reduced_exactly(name: str):
    options, changed = FORMS[name]
    assert_reductions_exact(plugin(**options), **{**EDIT, **changed})
    assert_deterministic(plugin(**options), **{**EDIT, **changed})


def test_with_strength_0_nothing_changes():
    assert_neutral_is_identity(plugin(repaint=[BOX], strength=0), **EDIT)
    assert_neutral_is_identity(plugin(repaint=[BOX], strength=0), image=PICTURE, **EDIT)


@pytest.mark.thorough
def test_on_the_demo_checkpoint_the_word_comes_to_lie_in_its_box():
    """Its tendency there rises with the swap, and at the end of the run so has its attention.

    The demo's own edit, in fewer steps: a sofa that lies at the left by itself.
    """
    box, inside = (64, 56, 128, 96), np.s_[7:12, 8:]
    text = "a room with a red sofa"
    made = Kept(InitialNoiseOptions(layout={"sofa": box}))
    with Editor.load("rooms", engine="onnxruntime") as editor:
        run = editor.edit(source=text, target=text, method=made, steps=6, seed=0)
        grid = BlockGrid.of(made.run)
        fields = [
            grid.tendency(noise, made.run.targets[0], ["sofa"])[0]
            for noise in (made.before[1], made.after[1])
        ]
        fields += [run.maps.of("sofa", picture).values for picture in (0, 1)]
        shares = [float(field[inside].sum() / field.sum()) for field in fields]
        assert run.rows["look"] == 1
    assert shares[1] > 2 * shares[0]
    assert shares[3] > shares[2]
    assert shares[3] > 0.7
