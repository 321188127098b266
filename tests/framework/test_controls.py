"""Plans are data that checks itself, and that nobody can change afterwards."""

import numpy as np
import pytest

from scumble.controls import (
    Also,
    Branch,
    Control,
    FeatureRoute,
    Guide,
    Join,
    Mix,
    Read,
    Region,
    Route,
    Term,
    Watch,
    group_of,
)
from scumble.errors import OptionError

ON = np.ones(3, dtype=bool)
SOURCE, TARGET = Branch(0), Branch(1)
CONTROLS: list[Control] = [
    Route(TARGET, ON, (0,), key=SOURCE),
    Mix(TARGET, SOURCE, np.zeros((1, 4, 4)), np.ones((1, 4)), np.zeros(3, int), (0,)),
    Read("r", TARGET, np.ones((1, 4)), (0,), ON),
    FeatureRoute(TARGET, SOURCE, (0,), ON),
    Region(TARGET, np.ones((2, 2)), np.ones((2, 2)), (0,), ON),
    Join(TARGET, SOURCE, (0,), ON),
    Guide(
        TARGET,
        (Term("token", np.ones(4), np.ones((2, 2)), 1.0),),
        (0,),
        ON,
        1,
        np.ones(3),
        np.ones((2, 2)),
    ),
    Watch(0, ON),
    Also("n", Branch(1, "a dog"), ON),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: type(control).__name__)
def test_arrays_are_copies_and_read_only(control: Control):
    fields = [getattr(control, name) for name in control.__slots__]
    arrays = [value for value in fields if isinstance(value, np.ndarray)]
    assert arrays
    for array in arrays:
        assert not array.flags.writeable
        assert not np.shares_memory(array, ON)


def test_steps_may_be_given_as_a_list():
    route = Route(TARGET, [0, 1, 1], (0,), key=SOURCE)  # pyright: ignore[reportArgumentType]
    assert route.steps.dtype == bool


class TestMix:
    def test_pairs_are_looked_up(self):
        matrices = np.stack([np.zeros((2, 2)), np.eye(2)])
        mix = Mix(TARGET, SOURCE, matrices, np.array([[1, 1], [1, 0.5]]), np.array([-1, 0, 1]), ())
        assert mix.pair(0) is None
        assert mix.pair(1) is None, "no source and all of its own changes nothing"
        found = mix.pair(2)
        assert found is not None
        np.testing.assert_array_equal(found[0], np.eye(2))
        np.testing.assert_array_equal(found[1], [1, 0.5])

    @pytest.mark.parametrize(
        ("matrices", "own"),
        [((1, 4, 5), (1, 4)), ((1, 4, 4), (1, 5)), ((2, 4, 4), (1, 4)), ((4, 4), (4,))],
    )
    def test_shapes(self, matrices: tuple[int, ...], own: tuple[int, ...]):
        with pytest.raises(OptionError, match=r"\(n, tokens, tokens\)"):
            Mix(TARGET, SOURCE, np.zeros(matrices), np.zeros(own), np.zeros(3, int), (0,))

    @pytest.mark.parametrize("index", [1, -2])
    def test_a_pair_that_is_not_there(self, index: int):
        at = np.array([0, index, 0])
        with pytest.raises(OptionError, match="of 1"):
            Mix(TARGET, SOURCE, np.zeros((1, 4, 4)), np.ones((1, 4)), at, (0,))


def test_a_region_may_name_its_masks():
    region = Region(TARGET, "here", np.ones((2, 2)), (0,), ON)
    assert region.query == "here"
    assert isinstance(region.key, np.ndarray)
    assert not region.key.flags.writeable


class TestGuide:
    TERM = Term("space", np.ones(4), np.ones((2, 2)), 1.0)

    def test_a_term_shares_with_every_token_if_it_does_not_say(self):
        assert isinstance(self.TERM.rest, np.ndarray)
        assert self.TERM.rest.tolist() == [1, 1, 1, 1]
        some = Term("token", np.ones(4), np.ones((2, 2)), 1.0, rest=np.array([0.0, 1, 1, 0]))
        assert isinstance(some.rest, np.ndarray)
        assert some.rest.tolist() == [0, 1, 1, 0]

    def test_arrays_of_a_term_are_copies_and_read_only(self):
        words = np.ones(4)
        term = Term("token", words, np.ones((2, 2)), 1.0)
        words[0] = 9
        assert term.words[0] == 1
        for array in (term.words, term.mask, term.rest):
            assert isinstance(array, np.ndarray)
            assert not array.flags.writeable

    def test_a_loss_at_which_to_stop_is_one_for_each_step(self):
        stop = np.zeros(3)
        guide = Guide(TARGET, (self.TERM,), (0,), ON, 1, np.ones(3), np.ones((2, 2)), 0.0, stop)
        assert guide.stop is not None
        assert not guide.stop.flags.writeable
        stop[0] = 9
        assert guide.stop[0] == 0

    @pytest.mark.parametrize(("terms", "iterations"), [(0, 1), (1, 0), (2, -1)])
    def test_it_does_something(self, terms: int, iterations: int):
        with pytest.raises(OptionError, match="a guide needs terms, and one iteration or more"):
            Guide(TARGET, (self.TERM,) * terms, (0,), ON, iterations, np.ones(3), np.ones((2, 2)))


def test_the_group_of_each():
    found = {type(control).__name__: group_of(control) for control in CONTROLS}
    assert found == {
        "Route": "route", "Mix": "mix", "Read": "read", "FeatureRoute": "feature",
        "Region": "region", "Join": "join", "Guide": "loss", "Watch": None,
        "Also": None,
    }  # fmt: skip
