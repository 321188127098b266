"""The demo world: what it says about a picture is true of it."""

import random
from dataclasses import replace

import numpy as np
import pytest

from scumble_bench.rooms import world
from scumble_bench.rooms.captions import MOST_WORDS, relations

SEEDS = range(world.HELD_OUT, world.HELD_OUT + 120)


@pytest.fixture(scope="module")
def scenes() -> list[world.Scene]:
    return [world.scene(seed) for seed in SEEDS]


def nearest(colour: np.ndarray) -> str:
    distance = {
        name: float(np.linalg.norm(colour - np.asarray(rgb))) for name, rgb in world.COLOURS.items()
    }
    return min(distance, key=lambda name: distance[name])


def test_a_seed_always_gives_the_same_scene(scenes: list[world.Scene]) -> None:
    for scene in scenes[:20]:
        again = world.scene(scene.room.seed)
        assert again.room == scene.room
        assert (again.image == scene.image).all()
        assert (again.caption, again.words) == (scene.caption, scene.words)
        assert all((a.mask == b.mask).all() for a, b in zip(again.items, scene.items, strict=True))


def test_seeds_give_different_rooms_in_training_and_held_out() -> None:
    training = {world.scene(seed).image.tobytes() for seed in range(40)}
    held_out = {
        world.scene(seed).image.tobytes() for seed in range(world.HELD_OUT, world.HELD_OUT + 40)
    }
    assert len(training) == len(held_out) == 40
    assert not training & held_out


def test_ground_truth_is_consistent(scenes: list[world.Scene]) -> None:
    for scene in scenes:
        assert scene.image.shape == (world.SIZE, world.SIZE, 3)
        assert scene.image.dtype == np.uint8
        assert 1 <= len(scene.items) <= 5
        assert len({item.noun for item in scene.items}) == len(scene.items)
        assert np.sum([item.mask for item in scene.items], axis=0).max() <= 1
        for thing, item in zip(scene.room.things, scene.items, strict=True):
            assert (thing.noun, thing.colour, thing.pose) == (item.noun, item.colour, item.pose)
            left, top, right, bottom = item.box
            assert item.mask.sum() >= 60
            assert item.mask[top:bottom, left:right].sum() == item.mask.sum()
            assert item.mask[top].any()
            assert item.mask[:, right - 1].any()


def test_objects_have_the_colour_they_are_said_to_have(scenes: list[world.Scene]) -> None:
    right: list[bool] = []
    for scene in scenes:
        if scene.room.style == "painted" and not scene.room.night:
            for item in scene.items:
                median = np.median(scene.image[item.mask], axis=0)
                right.append(nearest(median) == item.colour)
    assert len(right) > 150
    assert np.mean(right) > 0.95


def test_captions_name_only_what_is_there(scenes: list[world.Scene]) -> None:
    for scene in scenes:
        room = scene.room
        for caption in world.captions(room, random.Random(room.seed), 6):
            assert len(caption.text.split()) <= MOST_WORDS
            named = {room.things[i].noun for i in caption.mentioned}
            said = set(caption.text.replace(",", "").split())
            assert said & set(world.NOUNS) == named
            allowed = {room.things[i].colour for i in caption.mentioned} | {room.wall, room.floor}
            assert said & set(world.COLOURS) <= allowed
            assert said & set(world.POSES) <= {room.things[i].pose for i in caption.mentioned}
            assert "night" not in said or room.night
            assert not said & {"sketch", "drawing"} or room.style == "sketch"
            assert "window" not in said or room.window is not None


def test_words_point_at_the_names_in_the_text(scenes: list[world.Scene]) -> None:
    for scene in scenes:
        assert len(scene.mentioned) == len(scene.mentioned_colour) == len(scene.words)
        coloured = zip(scene.mentioned, scene.mentioned_colour, scene.words, strict=True)
        for index, has_colour, words in coloured:
            item = scene.items[index]
            assert scene.caption[slice(*words.noun)] == item.noun
            assert (words.colour is not None) == has_colour
            if words.colour:
                assert scene.caption[slice(*words.colour)] == item.colour
            if words.pose:
                assert scene.caption[slice(*words.pose)] == item.pose


def test_captions_differ_and_take_either_kind_of_random() -> None:
    room = world.design_room(world.HELD_OUT + 3)
    texts = [c.text for c in world.captions(room, np.random.default_rng(1), 5)]
    assert len(set(texts)) == len(texts) == 5
    assert texts == [c.text for c in world.captions(room, np.random.default_rng(1), 5)]


def test_most_animals_are_said_to_be_on_what_bears_them(scenes: list[world.Scene]) -> None:
    borne = [
        (scene.room, i, thing.on)
        for scene in scenes
        for i, thing in enumerate(scene.room.things)
        if thing.on is not None
    ]
    assert len(borne) > 10
    for room, i, on in borne:
        assert relations(room, i, on) == ("on",)
        assert room.things[on].noun in ("sofa", "table", "carpet")


@pytest.mark.parametrize("change", ["colour", "pose", "noun"])
def test_an_edit_leaves_the_rest_as_it_is(scenes: list[world.Scene], change: str) -> None:
    done = 0
    for scene in scenes:
        room = scene.room
        for index, thing in enumerate(room.things):
            if change == "colour":
                edited = world.with_thing(
                    room, index, colour="red" if thing.colour != "red" else "blue"
                )
            elif change == "pose" and thing.pose:
                edited = world.with_thing(
                    room, index, pose="lying" if thing.pose != "lying" else "standing"
                )
            elif change == "noun" and (others := world.alternatives(room, index)):
                edited = world.with_thing(room, index, noun=others[-1])
            else:
                continue
            outside = np.ones((world.SIZE, world.SIZE), bool)
            for each in (room, edited):
                left, top, right, bottom = world.reach(each, index)
                outside[top:bottom, left:right] = False
            after = world.render(edited)
            assert (after.image[outside] == scene.image[outside]).all()
            assert (after.image != scene.image).any()
            if change == "colour":
                assert (after.items[index].mask == scene.items[index].mask).all()
                untouched = ~scene.items[index].mask
                far = np.abs(after.image.astype(int) - scene.image)[untouched].max(axis=1)
                assert (far > 0).mean() < 0.03  # the anti-aliased rim alone
            done += 1
            break
    assert done > 20


def test_impossible_edits_are_refused() -> None:
    rooms = [world.design_room(seed) for seed in SEEDS]
    room = next(r for r in rooms if {"cat", "sofa"} <= {t.noun for t in r.things})
    cat = next(i for i, t in enumerate(room.things) if t.noun == "cat")
    sofa = next(i for i, t in enumerate(room.things) if t.noun == "sofa")
    with pytest.raises(ValueError, match="cannot become a sofa"):
        world.with_thing(room, cat, noun="sofa")
    with pytest.raises(ValueError, match="no pose"):
        world.with_thing(room, sofa, pose="lying")
    with pytest.raises(ValueError, match="no colour 'mauve'"):
        world.with_thing(room, sofa, colour="mauve")
    with pytest.raises(ValueError, match="needs a pose"):
        replace(room.things[cat], pose="flying")
    with pytest.raises(ValueError, match="has no pose"):
        replace(room.things[sofa], pose="lying")
    with pytest.raises(ValueError, match="no noun 'chair'"):
        replace(room.things[sofa], noun="chair")


def test_a_contact_sheet_shows_each_seed() -> None:
    sheet = world.contact_sheet(range(3), columns=2)
    assert sheet.size == (2 * 132 + 4, 2 * 132 + 4)
    assert (np.asarray(sheet)[4:132, 4:132] == world.scene(0).image).all()
