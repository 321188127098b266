from pathlib import Path

import numpy as np
import pytest
import torch

from scumble_bench.rooms import world
from scumble_bench.rooms.batches import Shelf, as_bytes, as_pictures, noun_masks, thing_masks
from scumble_bench.rooms.dataset import CHUNK, NOUNS, THINGS, SceneCache

CPU = torch.device("cpu")


def finish(cache: SceneCache, chunk: int) -> None:
    """Fill a chunk with pictures of one level, the chunk's number plus one."""
    rows = cache.scenes_of(chunk)
    cache.array("images")[rows.start : rows.stop] = chunk + 1
    (cache.marks / str(chunk)).touch()


def test_a_shelf_draws_only_what_is_rendered(tmp_path: Path):
    cache = SceneCache(tmp_path, 2 * CHUNK + 10)
    shelf = Shelf(cache, CPU, ("images",))
    assert shelf.refresh() == 0
    finish(cache, 1)
    assert shelf.refresh() == 1
    rows = shelf.draw(2000)
    assert set(rows.tolist()) == set(cache.scenes_of(1))
    assert (shelf["images"][rows[:3]] == 2).all()
    finish(cache, 0)
    assert shelf.refresh() == 2
    assert {int(row) // CHUNK for row in shelf.draw(200)} == {0, 1}


def test_a_shelf_leaves_out_the_last_part_of_a_chunk(tmp_path: Path):
    cache = SceneCache(tmp_path, CHUNK + 10)
    finish(cache, 1)
    shelf = Shelf(cache, CPU, ("images",))
    assert shelf.refresh() == 0
    finish(cache, 0)
    assert shelf.refresh() == 1
    assert int(shelf.draw(500).max()) < CHUNK


def test_a_cache_smaller_than_a_chunk_is_drawn_from_whole(tmp_path: Path):
    cache = SceneCache(tmp_path, 6)
    finish(cache, 0)
    shelf = Shelf(cache, CPU, ("images",))
    assert shelf.refresh() == 1
    assert set(shelf.draw(200).tolist()) == set(range(6))


def test_bytes_become_pictures_and_come_back():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1)
    images = torch.cat([levels, levels.flip(1), levels.flip(2)], -1)
    pictures = as_pictures(images)
    assert pictures.shape == (1, 3, 16, 16)
    assert pictures[0, 0, 0, 0] == -1
    assert pictures[0, 0, -1, -1] == 1
    assert torch.equal(as_bytes(pictures), images)
    beyond = torch.tensor([-1.5, 1.5, 0.0]).view(1, 3, 1, 1)
    assert as_bytes(beyond).flatten().tolist() == [0, 255, 128]


def test_thing_masks_average_the_area_of_each_thing():
    labels = torch.zeros(1, 128, 128, dtype=torch.uint8)
    labels[:, :8, :4] = 2
    masks = thing_masks(labels, 3, 16)
    assert masks.shape == (1, 3, 16, 16)
    assert float(masks[0, 1, 0, 0]) == 0.5
    assert float(masks.sum()) == 0.5


def test_noun_masks_follow_the_labels():
    scene = world.scene(7)
    labels = np.zeros((128, 128), np.uint8)
    things = np.full((THINGS, 3), -1, np.int8)
    for index, item in enumerate(scene.items):
        labels[item.mask] = index + 1
        things[index, 0] = NOUNS.index(item.noun)
    masks = noun_masks(torch.from_numpy(labels)[None], torch.from_numpy(things)[None], 64)[0]
    for number, noun in enumerate(NOUNS):
        area = sum(int(item.mask.sum()) for item in scene.items if item.noun == noun)
        assert float(masks[number].sum()) * 4 == pytest.approx(area)
