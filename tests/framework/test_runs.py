"""What a user gets back, and how it is saved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.attention_maps import RunMaps
from scumble.errors import OptionError
from scumble.guiding import Guided
from scumble.hookspecs import Trajectory
from scumble.pipeline import Finished
from scumble.recipes import read_recipe
from scumble.runs import Run

PIXELS = {
    picture: np.random.default_rng(picture).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    for picture in range(3)
}
MAPS: Any = object.__new__(RunMaps)
LATENTS = np.random.default_rng(9).standard_normal((3, 4, 2, 3))
GUIDED = Guided(0, 1, (0.5, 0.25))


def run(*pictures: int, given: Any = None, skipped: int = 0) -> Run:
    pixels = {picture: PIXELS[picture] for picture in pictures}
    rows = {"inversion": 5, "mix": 7, "gradient": 4}
    *levels, latents = ({p: latent + p for p in pictures} for latent in LATENTS)
    levels[:skipped] = [{} for _ in range(skipped)]
    finished = Finished(
        pixels, latents, MAPS, rows, None, np.zeros(2, bool), (GUIDED,), tuple(levels),
        {"": LATENTS[0, 0] > 0},
    )  # fmt: skip
    recipe = {"operation": "edit", "provenance": {"engine": "fake"}}
    return Run(finished, recipe, {"sampling": 1.5}, given, ("A note.",))


def same(image: Image.Image, pixels: np.ndarray) -> bool:
    return np.array_equal(np.asarray(image), pixels)


def test_images_are_the_targets():
    edited = run(0, 1, 2)
    assert len(edited.images) == 2
    assert same(edited.image, PIXELS[1])
    assert same(edited.images[1], PIXELS[2])
    assert same(edited.source, PIXELS[0])


def test_a_run_without_targets_has_one_image():
    assert same(run(0).image, PIXELS[0])
    assert len(run(0).images) == 1


def test_the_source_is_what_was_given():
    assert same(run(1, given=PIXELS[2]).source, PIXELS[2])


def test_what_it_knows():
    edited = run(0, 1)
    assert edited.row_count == 12
    assert edited.provenance == {"engine": "fake"}
    assert edited.notes == ("A note.",)
    assert edited.timings == {"sampling": 1.5}
    assert edited.maps is MAPS
    assert edited.trajectory is None
    assert edited.guided == (GUIDED,)


def test_gradients_are_counted_apart():
    assert run(0, 1).gradient_count == 4
    assert run(0, 1).row_count == 12


@pytest.mark.parametrize(("pictures", "first"), [((0, 1, 2), 1), ((2,), 2), ((0,), 0)])
def test_the_path_is_that_of_the_first_image(pictures: tuple[int, ...], first: int):
    path = run(*pictures).path
    np.testing.assert_array_equal(path.latents, LATENTS + first)
    assert path.pinned


def test_a_run_that_began_part_way_has_no_path():
    with pytest.raises(OptionError, match="began at step 1, and no latent leads there"):
        _ = run(0, 1, skipped=1).path


def test_masks_are_those_that_plugins_found():
    assert set(run(0).masks) == {""}
    np.testing.assert_array_equal(run(0).masks[""], LATENTS[0, 0] > 0)


def test_one_image_is_saved_as_named(tmp_path: Path):
    path = tmp_path / "out.png"
    assert run(0, 1).save(path) == (path,)
    assert same(Image.open(path), PIXELS[1])
    assert read_recipe(path)["result"] == 0
    assert read_recipe(path)["operation"] == "edit"


def test_further_ones_are_numbered(tmp_path: Path):
    paths = run(0, 1, 2).save(str(tmp_path / "out.png"))
    assert [path.name for path in paths] == ["out.png", "out-2.png"]
    assert read_recipe(paths[1])["result"] == 1
    assert same(Image.open(paths[1]), PIXELS[2])


@pytest.mark.parametrize("name", ["out.jpg", "missing/out.png"])
def test_what_cannot_be_written(tmp_path: Path, name: str):
    with pytest.raises(OptionError):
        run(0, 1).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_all_or_none(tmp_path: Path):
    (tmp_path / "out-2.png").mkdir()
    with pytest.raises(OptionError, match=r"out-2\.png"):
        run(0, 1, 2).save(tmp_path / "out.png")
    assert [path.name for path in tmp_path.iterdir()] == ["out-2.png"]


def test_the_path_takes_what_its_steps_took():
    made = run(1)
    way = Trajectory(LATENTS * 0, pinned=False, noises=LATENTS[:2], eta=0.5, embeddings="a cat")
    made._finished = replace(made._finished, trajectory=way)
    path = made.path
    np.testing.assert_array_equal(path.latents, LATENTS + 1)
    assert path.noises is way.noises
    assert (path.pinned, path.eta, path.embeddings) == (True, 0.5, "a cat")
