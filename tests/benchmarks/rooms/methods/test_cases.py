"""The edits are of held-out scenes, say what is true of them, and a judge can tell them."""

import re

import numpy as np
import pytest

from scumble_bench.rooms import CHECKPOINT, world
from scumble_bench.rooms.judge import Judge, Verdict
from scumble_bench.rooms.methods.cases import KINDS, Case, Kind, case_of, draw_cases, reworded

COUNT = 4


@pytest.mark.parametrize(
    ("text", "old", "new", "wanted"),
    [
        ("a room with a red sofa", "red", "blue", "a room with a blue sofa"),
        ("a room with a red sofa", "red", "orange", "a room with an orange sofa"),
        ("an orange cat", "orange", "red", "a red cat"),
        ("an orange cat, a red sofa", "orange", "", "a cat, a red sofa"),
        ("a sitting red cat", "red", "", "a sitting cat"),
        ("a red cat sitting", "sitting", "lying", "a red cat lying"),
    ],
)
def test_one_word_becomes_another_with_its_article(text: str, old: str, new: str, wanted: str):
    at = text.index(old)
    assert reworded(text, (at, at + len(old)), new) == wanted


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(CHECKPOINT / "judge")


def words(text: str) -> list[str]:
    """The words of a prompt but for articles, which follow the word after them."""
    return [word for word in re.findall(r"\w+", text) if word not in ("a", "an")]


def item_of(case: Case) -> world.Item:
    (item,) = (item for item in world.scene(case.seed).items if item.noun == case.noun)
    return item


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_edits_are_of_scenes_nobody_trained_on(kind: Kind, judge: Judge):
    found = draw_cases(kind, COUNT, judge)
    assert len(found.cases) == COUNT
    assert found.looked_at >= COUNT + found.misjudged
    assert len({case.seed for case in found.cases}) == COUNT
    for case in found.cases:
        assert case.seed >= world.HELD_OUT
        assert np.array_equal(case.image, world.scene(case.seed).image)
        item = item_of(case)
        assert np.array_equal(case.mask, item.mask)
        assert case.box == item.box
        assert item.mask.sum() >= 300
        assert not (case.mask & ~case.changed).any()
        assert case.noun in words(case.target)
        assert words(case.target).count(case.word) == 1
    again = draw_cases(kind, COUNT, judge)
    assert [case.target for case in again.cases] == [case.target for case in found.cases]


@pytest.mark.thorough
def test_the_prompts_differ_by_what_is_edited(judge: Judge):
    for kind in ("colour", "crowded"):
        for case in draw_cases(kind, COUNT, judge).cases:
            item = item_of(case)
            assert case.colour == case.word != item.colour
            apart = zip(words(case.source), words(case.target), strict=True)
            assert [pair for pair in apart if len(set(pair)) > 1] == [(item.colour, case.word)]
    for case in draw_cases("refine", COUNT, judge).cases:
        added = words(case.target)
        added.remove(case.word)
        assert added == words(case.source)
    for case in draw_cases("pose", COUNT, judge).cases:
        item = item_of(case)
        assert case.pose == case.word != item.pose == case.pose_before
        assert case.colour == item.colour
        apart = [
            (a, b) for a, b in zip(words(case.source), words(case.target), strict=True) if a != b
        ]
        assert apart == [(item.pose, case.pose)]
        assert (case.changed & ~case.mask).any(), "another pose lies elsewhere"
    spoken = draw_cases("pose", COUNT, judge).cases
    for loud, case in zip(spoken, draw_cases("silent_pose", COUNT, judge).cases, strict=True):
        assert (case.seed, case.noun, case.pose) == (loud.seed, loud.noun, loud.pose)
        assert not re.search(rf"\b{case.colour} (\w+ )?{case.noun}", case.source + case.target)
        for said, unsaid in ((loud.source, case.source), (loud.target, case.target)):
            assert sorted([*words(unsaid), case.colour]) == sorted(words(said))
    for case in draw_cases("layout", COUNT, judge).cases:
        assert case.source == case.target == world.scene(case.seed).caption
    crowds = [len(world.scene(c.seed).items) for c in draw_cases("crowded", COUNT, judge).cases]
    assert min(crowds) >= 4


class WrongAfter:
    """Takes every colour of the true result for another one, each time or every so many times."""

    def __init__(self, judge: Judge, every: int = 1) -> None:
        self.judge = judge
        self.every = every
        self.asked = 0

    def __call__(self, images: np.ndarray) -> list[Verdict]:
        before, after = self.judge(images)
        self.asked += 1
        if self.asked % self.every == 0:
            after.colour.update(dict.fromkeys(after.colour, "none"))
        return [before, after]


@pytest.mark.thorough
def test_what_the_judge_could_not_tell_is_left_out(judge: Judge):
    wrong: Judge = WrongAfter(judge)  # pyright: ignore[reportAssignmentType]
    with pytest.raises(ValueError, match="40 scenes hold 0 edits of kind 'colour', not 1"):
        draw_cases("colour", 1, wrong, most=40)
    unsure = WrongAfter(judge, every=3)
    found = draw_cases("colour", 10, unsure)  # pyright: ignore[reportArgumentType]
    assert len(found.cases) == 10
    assert found.misjudged == unsure.asked - 10 >= unsure.asked // 3 >= 4
    assert found.misjudged <= found.looked_at - 10


def test_a_case_is_found_again_by_its_scene(judge: Judge):
    for case in draw_cases("colour", 2, judge).cases:
        again = case_of("colour", case.seed)
        assert (again.source, again.target, again.noun) == (case.source, case.target, case.noun)
        assert (again.mask == case.mask).all()


def test_a_scene_without_such_an_edit_says_so():
    def holds(seed: int) -> bool:
        scene = world.scene(seed)
        return any(words.pose for words in scene.words)

    seed = next(s for s in range(world.HELD_OUT, world.HELD_OUT + 50) if not holds(s))
    with pytest.raises(ValueError, match=f"scene {seed} holds no edit of kind 'pose'"):
        case_of("pose", seed)
