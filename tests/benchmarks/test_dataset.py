from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble_bench.rooms import dataset, world
from scumble_bench.rooms.dataset import CHUNK, COLOURS, NOUNS, POSES, THINGS, SceneCache
from scumble_bench.rooms.tokenizer import WINDOW


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    dataset.ensure_tokenizer(folder, scenes=100)
    return dataset.load_backend(folder)


def test_a_tokenizer_that_is_there_is_left_alone(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("kept")
    dataset.ensure_tokenizer(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == "kept"


def test_a_rendered_scene_holds_what_the_world_says_of_it(backend: Any):
    scene = world.scene(5)
    rows = dataset.render_scene(5, backend)
    assert np.array_equal(rows["images"], scene.image)
    for index, item in enumerate(scene.items):
        assert np.array_equal(rows["labels"] == index + 1, item.mask)
        noun, colour, pose = rows["things"][index]
        assert (NOUNS[noun], COLOURS[colour]) == (item.noun, item.colour)
        assert (POSES[pose] if pose >= 0 else None) == item.pose
    assert (rows["things"][len(scene.items) :] == -1).all()
    for name, row in rows.items():
        shape, dtype = dataset._FIELDS[name]
        assert (row.shape, row.dtype) == (shape, dtype), name


def test_a_caption_beyond_the_window_is_left_out(backend: Any):
    text = "cat " * WINDOW
    said = world.Caption(text, (), (), ())
    assert dataset.tokenise(backend, said) is None
    fitting = world.Caption("cat " * (WINDOW - 2), (), (), ())
    encoded = dataset.tokenise(backend, fitting)
    assert encoded is not None
    assert len(encoded[0]) == WINDOW
    assert encoded[1].shape == (THINGS, 3, 2)


def test_chunks_cover_the_cache(tmp_path: Path):
    cache = SceneCache(tmp_path, 2 * CHUNK + 1)
    assert cache.chunks == 3
    covered = [row for chunk in range(cache.chunks) for row in cache.scenes_of(chunk)]
    assert covered == list(range(cache.count))
    assert cache.ready() == []
    (cache.marks / "2").touch()
    assert SceneCache(tmp_path, cache.count).ready() == [2]


def test_a_failing_renderer_is_an_error(tmp_path: Path):
    cache = dataset.SceneCache(tmp_path / "scenes", 4)
    renderer = dataset.Renderer(cache, tmp_path / "no tokenizer", 1)
    for process in renderer.processes:
        process.join()
    with pytest.raises(RuntimeError, match="rendering process"):
        renderer.running()
