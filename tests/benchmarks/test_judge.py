"""The judge, and its accuracy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scumble.errors import ModelError
from scumble_bench.rooms import CHECKPOINT, world
from scumble_bench.rooms.dataset import COLOURS, NOUNS, POSES
from scumble_bench.rooms.judge import Judge, Logits, Verdict, verdicts_of
from scumble_bench.rooms.judge_network import JudgeNetwork, load_network, pooled, save_network
from scumble_bench.rooms.judge_training import judge_accuracy

# Saving a judge traces its network, which takes seconds.
pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("judge")
    save_network(JudgeNetwork(), folder)
    return Judge.load(folder)


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


def test_a_folder_without_a_graph_says_how_to_write_it(tmp_path: Path):
    with pytest.raises(ModelError, match=r"has no judge\.onnx; write it: python -m .*rooms\.pack"):
        Judge.load(tmp_path)


def spelled_out(logits: tuple[torch.Tensor, ...]) -> list[Verdict]:
    """What `verdicts_of` does, in torch, as training measures colours and poses."""
    presence, nouns, colours, poses = logits
    chances = nouns.softmax(1)
    masks = chances[:, 1:].square()
    of_colour = pooled(colours, masks).argmax(-1)
    of_pose = pooled(poses, masks).argmax(-1)
    present = presence.sigmoid()
    return [
        Verdict(
            {noun: float(present[row, n]) for n, noun in enumerate(NOUNS)},
            {noun: COLOURS[int(of_colour[row, n])] for n, noun in enumerate(NOUNS)},
            {noun: POSES[int(of_pose[row, NOUNS.index(noun)])] for noun in ("cat", "dog")},
            chances[row].argmax(0).to(torch.uint8).numpy(),
        )
        for row in range(len(presence))
    ]


def test_the_shipped_graph_judges_as_the_trained_network_does():
    """On held-out scenes, and so its graph was written from the very weights beside it."""
    images = np.stack([world.scene(world.HELD_OUT + number).image for number in range(64)])
    judge = Judge.load(CHECKPOINT / "judge")
    found = judge.logits(images)
    network = load_network(CHECKPOINT / "judge")
    with torch.inference_mode():
        wanted = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)
    for mine, theirs in zip(found, wanted, strict=True):
        assert np.abs(mine - theirs.numpy()).max() < 1e-4 * float(theirs.abs().max())
    for mine, theirs in zip(judge(images), spelled_out(wanted), strict=True):
        assert mine.present == pytest.approx(theirs.present, abs=1e-4)
        assert (mine.colour, mine.pose) == (theirs.colour, theirs.pose)
        # A cell may stand between two nouns; none did on the scenes of the first checkpoint.
        assert np.mean(mine.segments != theirs.segments) < 1e-3


def logits_of_a_cat() -> Logits:
    """A cat in a corner, blue there, and red everywhere else."""
    presence = np.full((1, len(NOUNS)), -5.0)
    presence[0, NOUNS.index("cat")] = 5
    nouns = np.full((1, 1 + len(NOUNS), 64, 64), -9.0)
    nouns[:, 0] = 0
    nouns[:, 0, 10:20, 10:20] = -9
    nouns[:, 1 + NOUNS.index("cat"), 10:20, 10:20] = 9
    colours = np.zeros((1, len(COLOURS), 64, 64))
    colours[:, COLOURS.index("red")] = 5
    colours[:, COLOURS.index("blue"), 10:20, 10:20] = 9
    poses = np.zeros((1, 4, 64, 64))
    poses[:, 2, 10:20, 10:20] = 1
    return Logits(presence, nouns, colours, poses)


def test_colour_and_pose_are_read_where_the_noun_is():
    verdict = verdicts_of(logits_of_a_cat())[0]
    assert verdict.sees("cat", "blue")
    assert not verdict.sees("cat", "red")
    assert not verdict.sees("dog")
    assert verdict.pose["cat"] == world.POSES[2]
    expected = np.zeros((128, 128), bool)
    expected[20:40, 20:40] = True
    assert np.array_equal(verdict.mask("cat"), expected)


def test_logits_of_any_size_are_judged():
    """The exponentials of a network that is very sure overflow, and a warning is an error here."""
    logits = Logits(*(200 * part.astype(np.float32) for part in logits_of_a_cat()))
    verdict = verdicts_of(logits)[0]
    assert verdict.present["cat"] == 1
    assert verdict.present["dog"] == 0
    assert verdict.colour["cat"] == "blue"


class _TellsTheTruth:
    """A judge that answers from the scenes themselves, except for the poses."""

    def __init__(self, judge: Judge, scenes: list[world.Scene]) -> None:
        self.judge = judge
        self.scenes = scenes

    def __call__(self, images: np.ndarray) -> list[Verdict]:
        verdicts = self.judge(images)
        for verdict, scene in zip(verdicts, self.scenes, strict=True):
            verdict.present.update(dict.fromkeys(NOUNS, 0.0))
            for item in scene.items:
                verdict.present[item.noun] = 1.0
                verdict.colour[item.noun] = item.colour
                if item.pose is not None:
                    verdict.pose[item.noun] = "none"
        return verdicts


def test_accuracy_is_one_for_the_truth_and_zero_for_wrong_poses(judge: Judge):
    scenes = [world.scene(world.HELD_OUT + 10_000 + number) for number in range(8)]
    assert any(item.pose for scene in scenes for item in scene.items)
    found = judge_accuracy(_TellsTheTruth(judge, scenes), 8)
    assert found["presence"] == found["colour"] == 1
    assert found["pose"] == 0
