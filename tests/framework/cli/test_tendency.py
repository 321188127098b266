"""The tendency study: what is computed, and what the command says, writes and refuses."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.cli.tendency import Landing, agreement
from scumble.editor import Editor
from scumble.hookspecs import hookimpl
from scumble.plugins import Plugin
from scumble.tendency import BlockGrid


def landing(field: Any, prompt: str = "a cat", seed: int = 0) -> Landing:
    return Landing("cat", prompt, seed, np.asarray(field, float), (8.0, 4.0))


def test_the_centre_is_that_of_mass_in_pixels():
    assert landing([[0, 0, 1], [0, 0, 0]]).centre == (10, 4)  # middle of the third column's cell
    assert landing([[1, 0, 3], [0, 0, 0]]).centre == (8, 4)
    assert landing(np.ones((4, 2))).centre == (4, 16)


def test_agreement_is_the_mean_correlation_of_pairs():
    rng = np.random.default_rng(0)
    a, b, c, d = rng.random((4, 5, 5))
    found = [landing(a, "p", 0), landing(b, "q", 0), landing(c, "p", 1), landing(d, "q", 1)]

    def alike(one: np.ndarray, two: np.ndarray) -> float:
        return float(np.corrcoef(one.ravel(), two.ravel())[0, 1])

    same_noise = agreement(found, "seed")
    same_prompt = agreement(found, "prompt")
    assert same_noise == pytest.approx((alike(a, b) + alike(c, d)) / 2)
    assert same_prompt == pytest.approx((alike(a, c) + alike(b, d)) / 2)
    assert agreement(found[:1], "seed") is None
    assert agreement(found[:2], "prompt") is None


def test_maps_agree_whatever_their_scale_and_a_flat_one_with_none():
    field = np.random.default_rng(1).random((3, 3))
    for other, wanted in ((2 * field + 1, 1), (5 - field, -1), (np.ones((3, 3)), 0)):
        pair = [landing(field, "p"), landing(other, "q")]
        assert agreement(pair, "seed") == pytest.approx(wanted)


PROMPTS = ("a red cat", "a blue cat", "a dog")


@pytest.mark.thorough
def test_maps_are_those_of_the_noise_that_runs_start_from(
    scumble: Any, out: Path, fast: list[str], checkpoint: Path
):
    words = ("--word", "cat", "--word", "dog", "--word", "cat")
    done = scumble(
        "tendency", *PROMPTS, *words, "--noises", 2, "--seed", 5, "--out", out / "maps", "--json",
        "--size", 64, *fast,
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    seen = [(one["word"], one["seed"], one["prompt"]) for one in told["landings"]]
    each = [("cat", PROMPTS[0]), ("cat", PROMPTS[1]), ("dog", PROMPTS[2])]
    assert seen == [(word, seed, prompt) for seed in (5, 6) for word, prompt in each]
    assert set(told["agreement"]) == {"cat", "dog"}
    assert told["agreement"]["dog"]["same_noise"] is None
    assert all(-1 <= share <= 1 for share in told["agreement"]["cat"].values())
    names = [f"{word}-{number}-{seed}.png" for word, number in (("cat", 1), ("cat", 2), ("dog", 3))
             for seed in (5, 6)]  # fmt: skip
    assert sorted(os.listdir(out / "maps")) == sorted(names)
    with Image.open(out / "maps" / names[0]) as drawn:
        assert drawn.size == (64, 64)
    grids: list[Any] = []

    class Start(Plugin):
        """Takes the map of what a run starts from."""

        @hookimpl
        def scumble_initial_noise(self, run: Any, noise: Any) -> None:
            grids.append(BlockGrid.of(run).tendency(noise[0], run.source, ["cat"])[0])

    with Editor.load(checkpoint, threads=1) as editor:
        editor.edit(
            source=PROMPTS[0], target="a dog", method=Start(), seed=6, steps=2, size=(64, 64)
        )
    (wanted,) = grids
    (mine,) = (
        one["map"] for one in told["landings"] if (one["seed"], one["prompt"]) == (6, PROMPTS[0])
    )
    assert np.abs(np.array(mine) - wanted).max() < 2e-6


@pytest.mark.thorough
def test_a_table_is_told(scumble: Any, fast: list[str]):
    done = scumble("tendency", *PROMPTS[:2], "--word", "cat", "--noises", 2, *fast)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("a red cat") == done.out.count("a blue cat") == 2
    assert "same noise, other prompt" in done.out
    assert scumble("tendency", "a cat", "--word", "cat", "--quiet", *fast).out == ""
    alone = scumble("tendency", "a cat", "--word", "cat", *fast).out
    assert alone.splitlines()[-1].split() == ["cat", "-", "-"]


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        (("--noises", 0), "--noises is 0"),
        (("--noises", 1001), "--noises is 1001"),
        (("--steps", 0), "steps is 0"),
        (("--seed", -1), "seed is -1"),
        (("--size", "big"), "--size is 'big'"),
        (("--word", "dog"), "'dog'"),
        (("--out", "nowhere/maps"), "there is no folder"),
    ],
)
def test_refusals_before_the_model_is_loaded(
    scumble: Any, no_model: None, checkpoint: Path, flags: tuple[Any, ...], because: str
):
    given = ["tendency", "a cat", "--word", "cat", "--model", checkpoint, *flags]
    scumble(*given).refused(because)


@pytest.mark.thorough
def test_a_map_that_is_not_there(scumble: Any, fast: list[str]):
    scumble("tendency", "a cat", "--word", "cat", "--map-site", 99, *fast).refused("no map 99")


@pytest.mark.thorough
def test_on_the_demo_checkpoint_noise_decides_the_place(scumble: Any):
    """The finding of Mao et al.: one noise puts a thing at one place, whatever is beside it."""
    others = (
        "a room with a blue ball",
        "a blue ball and a red sofa",
        "a blue ball and a brown cat",
    )
    done = scumble(
        "tendency", *others, "--word", "ball", "--noises", 3, "--engine", "onnxruntime", "--json"
    )
    found = json.loads(done.out)["agreement"]["ball"]
    assert found["same_noise"] > 0.8 > 0.4 > found["same_prompt"]
