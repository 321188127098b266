from pathlib import Path

import numpy as np
import pytest
import torch

from scumble_bench.rooms import world
from scumble_bench.rooms.dataset import COLOURS, NOUNS
from scumble_bench.rooms.judge import Judge, JudgeNetwork, _verdicts, pooled
from scumble_bench.rooms.judge_training import judge_accuracy, worsen


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge(JudgeNetwork())


def test_one_verdict_a_picture_with_the_words_of_the_world(judge: Judge):
    images = np.stack([world.scene(seed).image for seed in range(3)])
    verdicts = judge(images, batch=2)
    assert len(verdicts) == 3
    for verdict in verdicts:
        assert set(verdict.present) == set(verdict.colour) == set(world.NOUNS)
        assert set(verdict.colour.values()) <= set(world.COLOURS)
        assert set(verdict.pose) == {"cat", "dog"}
        assert set(verdict.pose.values()) <= set(world.POSES)
        assert all(0 <= chance <= 1 for chance in verdict.present.values())
        assert verdict.mask("sofa").shape == (128, 128)
    # Pictures are judged by themselves, not by their neighbours in the batch.
    alone = judge(images[2:])[0]
    assert alone.present == pytest.approx(verdicts[2].present, abs=1e-5)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((128, 128, 3), np.uint8),
        np.zeros((1, 64, 64, 3), np.uint8),
        np.zeros((1, 128, 128, 3), np.float32),
    ],
)
def test_other_shapes_and_types_are_refused(judge: Judge, images: np.ndarray):
    with pytest.raises(ValueError, match="128, 128, 3"):
        judge(images)


def test_a_saved_judge_is_small_and_judges_the_same(judge: Judge, tmp_path: Path):
    judge.save(tmp_path)
    assert (tmp_path / "judge.safetensors").stat().st_size <= 1.5e6
    image = world.scene(0).image[None]
    again = Judge.load(tmp_path)(image)[0]
    assert again.present == pytest.approx(judge(image)[0].present, abs=1e-2)


def test_colour_and_pose_are_read_where_the_noun_is():
    presence = torch.full((1, len(NOUNS)), -5.0)
    presence[0, NOUNS.index("cat")] = 5
    nouns = torch.full((1, 1 + len(NOUNS), 64, 64), -9.0)
    nouns[:, 0] = 0
    nouns[:, 0, 10:20, 10:20] = -9
    nouns[:, 1 + NOUNS.index("cat"), 10:20, 10:20] = 9
    colours = torch.zeros(1, len(COLOURS), 64, 64)
    colours[:, COLOURS.index("red")] = 5
    colours[:, COLOURS.index("blue"), 10:20, 10:20] = 9
    poses = torch.zeros(1, 4, 64, 64)
    poses[:, 2, 10:20, 10:20] = 1
    verdict = _verdicts(presence, nouns, colours, poses)[0]
    assert verdict.sees("cat", "blue")
    assert not verdict.sees("cat", "red")
    assert not verdict.sees("dog")
    assert verdict.pose["cat"] == world.POSES[2]
    expected = np.zeros((128, 128), bool)
    expected[20:40, 20:40] = True
    assert np.array_equal(verdict.mask("cat"), expected)


def test_pooling_weighs_by_the_mask():
    logits = torch.arange(4.0).view(1, 1, 2, 2)
    masks = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert pooled(logits, masks).item() == pytest.approx(1.5)
    assert pooled(logits, torch.zeros_like(masks)).item() == 0


def test_worsened_pictures_stay_pictures_and_differ():
    torch.manual_seed(0)
    pictures = torch.rand(6, 3, 128, 128) * 2 - 1
    worse = worsen(pictures)
    assert worse.shape == pictures.shape
    assert float(worse.abs().max()) <= 1
    assert not torch.equal(worse, pictures)


class _TellsTheTruth(Judge):
    """A judge that answers from the scenes themselves, except for the poses."""

    def __init__(self, scenes: list[world.Scene]) -> None:
        self.scenes = scenes

    def __call__(self, images, batch=50):
        verdicts = Judge(JudgeNetwork())(images)
        for verdict, scene in zip(verdicts, self.scenes, strict=True):
            verdict.present.update(dict.fromkeys(NOUNS, 0.0))
            for item in scene.items:
                verdict.present[item.noun] = 1.0
                verdict.colour[item.noun] = item.colour
                if item.pose is not None:
                    verdict.pose[item.noun] = "none"
        return verdicts


def test_accuracy_is_one_for_the_truth_and_zero_for_wrong_poses():
    scenes = [world.scene(world.HELD_OUT + 10_000 + number) for number in range(8)]
    assert any(item.pose for scene in scenes for item in scene.items)
    found = judge_accuracy(_TellsTheTruth(scenes), 8)
    assert found["presence"] == found["colour"] == 1
    assert found["pose"] == 0
