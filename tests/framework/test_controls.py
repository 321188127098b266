"""Plans are data that checks itself, and that nobody can change afterwards."""

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.plans import (
    Branch,
    Control,
    FeatureRoute,
    Mix,
    Plan,
    Read,
    Region,
    Route,
    Watch,
    steps_between,
)

ON = np.ones(3, dtype=bool)
SOURCE, TARGET = Branch(0), Branch(1)
CONTROLS: list[Control] = [
    Route(TARGET, ON, (0,), key=SOURCE),
    Mix(TARGET, SOURCE, np.zeros((1, 4, 4)), np.ones((1, 4)), np.zeros(3, int), (0,)),
    Read("r", TARGET, np.ones((1, 4)), (0,), ON),
    FeatureRoute(TARGET, SOURCE, (0,), ON),
    Region(TARGET, np.ones((2, 2)), np.ones((2, 2)), (0,), ON),
    Watch(0, ON),
]


def test_steps_between():
    assert steps_between(5, 1, 3).tolist() == [False, True, True, False, False]
    assert not steps_between(5, 3, 3).any()
    assert steps_between(5, -2, 9).all()


def test_needs_are_the_groups_of_the_controls():
    assert Plan(tuple(CONTROLS)).needs == {"route", "mix", "read", "feature", "region"}
    assert Plan((Watch(0, ON),)).needs == frozenset()


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


def test_branches_sort_by_picture_and_put_the_unconditional_row_first():
    found = sorted([Branch(1), Branch(0), Branch(1, False), Branch(0, False)])
    assert found == [Branch(0, False), Branch(0), Branch(1, False), Branch(1)]
