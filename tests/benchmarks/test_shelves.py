from pathlib import Path

import numpy as np
import pytest
import torch

from scumble_bench.rooms.dataset import CAPTIONS, THINGS, SceneCache
from scumble_bench.rooms.shelves import LatentShelf


def work(folder: Path, scenes: int, seed: int, tokenizer: str = "{}") -> Path:
    """A work folder of `scenes` scenes, of which all but the first are encoded."""
    cache = SceneCache(folder / "scenes", scenes, seed)
    cache.array("tokens")[...] = (seed + np.arange(scenes))[:, None, None]
    cache.array("words")[...] = 3
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text(tokenizer)
    (folder / "vae.pt").write_bytes(b"weights")
    rows = np.arange(1, scenes)
    np.save(folder / "rows.npy", rows)
    latents = np.broadcast_to((seed + rows)[:, None, None, None], (len(rows), 4, 16, 16))
    np.save(folder / "latents.npy", latents.astype(np.float16))
    np.save(folder / "masks.npy", np.full((len(rows), THINGS, 16, 16), seed, np.uint8))
    return folder


def test_scenes_of_several_folders_keep_their_captions(tmp_path: Path):
    one, two = work(tmp_path / "one", 5, 0), work(tmp_path / "two", 4, 100)
    shelf = LatentShelf.load([one, two], 0.5, torch.device("cpu"))
    assert len(shelf) == 7
    numbers = [1, 2, 3, 4, 101, 102, 103]
    assert shelf.latents[:, 0, 0, 0].tolist() == [number / 2 for number in numbers]
    assert shelf.tokens[:, CAPTIONS - 1, 0].tolist() == numbers
    assert shelf.masks[:, 0, 0, 0].tolist() == [0] * 4 + [100] * 3
    assert (shelf.words == 3).all()


def test_folders_of_different_making_are_refused(tmp_path: Path):
    one, two = work(tmp_path / "one", 5, 0), work(tmp_path / "two", 4, 100, "{'other': 1}")
    with pytest.raises(ValueError, match=r"one and .*two differ in tokenizer"):
        LatentShelf.load([one, two], 1.0, torch.device("cpu"))
    three = work(tmp_path / "three", 4, 100)
    (three / "vae.pt").write_bytes(b"other weights")
    with pytest.raises(ValueError, match=r"differ in vae\.pt"):
        LatentShelf.load([one, three], 1.0, torch.device("cpu"))
