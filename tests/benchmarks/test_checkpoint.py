"""What the shipped checkpoint itself must do; its quality is measured by `make quality`."""

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from scumble import Editor
from scumble.images import from_model, to_model
from scumble_bench.rooms import CHECKPOINT, world
from scumble_bench.rooms.methods.measures import psnr
from scumble_bench.rooms.pack import LIMIT

pytestmark = pytest.mark.thorough

EVERYWHERE = np.ones((world.SIZE, world.SIZE), dtype=bool)
SEEDS = [world.HELD_OUT + number for number in (2, 9, 12, 15)]


@pytest.fixture(scope="module")
def editor() -> Iterator[Editor]:
    with Editor.load("rooms") as loaded:
        yield loaded


def test_it_is_small_enough_to_ship():
    """With its pack."""
    size = sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file())
    assert 5e6 < size < LIMIT


@pytest.mark.parametrize("seed", SEEDS)
def test_a_round_trip_loses_less_than_a_decibel_to_the_autoencoder(editor: Editor, seed: int):
    scene = world.scene(seed)
    engine = editor.session.engine
    rebuilt = from_model(engine.decode(engine.encode_image(to_model(scene.image))))
    run = editor.invert(Image.fromarray(scene.image), scene.caption, steps=50)
    alone = psnr(scene.image, rebuilt, EVERYWHERE)
    assert psnr(scene.image, np.asarray(run.image), EVERYWHERE) > alone - 1
    assert run.rows == {"inversion": 50, "plain": 50}


def test_an_edit_moves_the_picture_and_keeps_what_direct_inversion_recorded(editor: Editor):
    scene = world.scene(SEEDS[2])
    run = editor.edit(
        Image.fromarray(scene.image),
        source="a room with an orange sofa and a yellow table",
        target="a room with a blue sofa and a yellow table",
        steps=20,
    )
    assert run.trajectory is not None
    assert np.array_equal(run.latents[0], run.trajectory.latents[-1])
    assert psnr(np.asarray(run.image), scene.image, EVERYWHERE) < 30


def test_where_a_word_looks_follows_the_thing(editor: Editor):
    scene = world.scene(SEEDS[2])
    sofa = next(item for item in scene.items if item.noun == "sofa")
    run = editor.invert(
        Image.fromarray(scene.image), "a room with an orange sofa and a yellow table",
        inversion="direct", steps=20,
    )  # fmt: skip
    values = run.maps["sofa"].values
    inside = sofa.mask.reshape(16, 8, 16, 8).mean((1, 3)) > 0.5
    assert values[inside].mean() > 3 * values[~inside].mean()
