"""The pictures that the judge is trained on, and its losses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from scumble_bench.rooms.batches import Shelf, as_bytes
from scumble_bench.rooms.dataset import SceneCache
from scumble_bench.rooms.judge_network import JudgeNetwork
from scumble_bench.rooms.judge_training import Decoded, JudgeLosses, worsen

SCENES = 12


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Scenes whose picture, a level for each label, tells which scene it is and how it lies."""
    cache = SceneCache(tmp_path, SCENES)
    maker = np.random.default_rng(0)
    labels = maker.integers(0, 6, (SCENES, 128, 128), np.uint8)
    cache.array("labels")[:] = labels
    cache.array("images")[:] = labels[..., None] * 3 + 20 * np.arange(SCENES)[:, None, None, None]
    cache.array("things")[:] = np.arange(SCENES)[:, None, None]
    (cache.marks / "0").touch()
    made = Shelf(cache, torch.device("cpu"), ("images", "labels", "things"))
    made.refresh()
    return made


def means_only() -> Any:
    """An autoencoder that keeps the mean of each cell."""
    return SimpleNamespace(
        encoder=lambda pictures: functional.avg_pool2d(pictures[:, :1], 8).repeat(1, 8, 1, 1),
        quant_conv=lambda latents: latents,
        post_quant_conv=lambda latents: latents,
        decoder=lambda latents: functional.interpolate(latents[:, :3], scale_factor=8.0),
    )


def test_a_ring_of_decoded_pictures_knows_their_scenes_and_renews_them(shelf: Shelf):
    torch.manual_seed(0)
    ring = Decoded(means_only(), shelf, fresh=2, size=6)
    rows, pictures = ring.draw(40)
    assert len(set(pictures.mean((1, 2, 3)).tolist())) <= 2  # what is not decoded is not drawn
    seen: list[torch.Tensor] = []
    for _ in range(7):
        rows, pictures = ring.draw(5)
        levels = (pictures.mean((1, 2, 3)) + 1) * 127.5
        assert torch.allclose(levels, 20 * rows + 7.5, atol=4)  # noisy cells, but 256 of them
        assert float(pictures.std((2, 3)).min()) > 0.01
        seen.append(ring.rows.clone())
    # The fourth draw renewed the oldest two, which the first had made, and nothing else.
    assert torch.equal(seen[1][2:], seen[2][2:])
    assert not torch.equal(seen[1][:2], seen[2][:2])
    assert ring.count == 16


def test_pictures_labels_and_things_of_a_draw_belong_together(shelf: Shelf):
    torch.manual_seed(0)
    losses = JudgeLosses(JudgeNetwork(), shelf, 64)
    pictures, things, labels = losses.draw()
    scenes = things[:, 0, 0].long()
    levels = as_bytes(pictures)[..., 0].long()
    assert torch.equal(levels, labels.long() * 3 + 20 * scenes[:, None, None])
    plain = (labels == shelf["labels"][scenes]).flatten(1).all(1)
    mirrored = (labels.flip(2) == shelf["labels"][scenes]).flatten(1).all(1)
    assert (plain ^ mirrored).all()
    assert 16 < int(mirrored.sum()) < 48


def test_a_quarter_of_a_draw_was_decoded(shelf: Shelf):
    torch.manual_seed(0)
    losses = JudgeLosses(JudgeNetwork(), shelf, 32, means_only())
    pictures, things, labels = losses.draw()
    wanted = labels.float() * 3 + 20 * things[:, 0, 0].float()[:, None, None]
    gaps = ((pictures[:, 0] + 1) * 127.5 - wanted).abs().amax((1, 2))
    assert (gaps[:8] > 3).all()
    assert (gaps[8:] < 0.5).all()
    mean = ((pictures[:8] + 1) * 127.5).mean((1, 2, 3))
    assert torch.allclose(mean, wanted[:8].mean((1, 2)), atol=4)


def test_losses_fall_to_nothing_when_every_answer_is_right(shelf: Shelf):
    shelf["things"][:] = -1
    shelf["things"][:, 0] = torch.tensor([2, 1, 3], dtype=torch.int8)
    shelf["labels"][:] = 0
    shelf["labels"][:, 32:96, 32:96] = 1
    losses = JudgeLosses(JudgeNetwork(), shelf, 4)

    def answers(pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        presence = torch.full((4, 9), -20.0)
        presence[:, 2] = 20
        nouns, colours, poses = (torch.zeros(4, kinds, 64, 64) for kinds in (10, 10, 5))
        nouns[:, 0], nouns[:, 3, 16:48, 16:48] = 20, 60
        colours[:, 1] = poses[:, 3] = 20
        return presence, nouns, colours, poses

    losses.network = answers  # pyright: ignore[reportAttributeAccessIssue]
    assert float(losses().max()) < 1e-4
    shelf["things"][:, 0, 1] = 2
    found = dict(zip(losses.names, losses().tolist(), strict=True))
    assert found["colour"] == pytest.approx(20, abs=0.1)
    assert found["loss"] == pytest.approx(10, abs=0.1)


def test_worsened_pictures_stay_pictures_and_differ():
    torch.manual_seed(0)
    pictures = torch.rand(6, 3, 128, 128) * 2 - 1
    worse = worsen(pictures)
    assert worse.shape == pictures.shape
    assert float(worse.abs().max()) <= 1
    assert not torch.equal(worse, pictures)
