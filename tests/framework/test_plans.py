"""A plan is a tuple of controls, and says what it needs."""

import numpy as np
import pytest

from scumble.controls import Also, Branch, FeatureRoute, Guide, Mix, Route, Term, Watch
from scumble.errors import OptionError
from scumble.plans import Plan, first_step, steps_between

ON = np.ones(3, dtype=bool)
SOURCE, TARGET = Branch(0), Branch(1)


def test_steps_between():
    assert steps_between(5, 1, 3).tolist() == [False, True, True, False, False]
    assert not steps_between(5, 3, 3).any()
    assert steps_between(5, -2, 9).all()


def test_needs_are_the_groups_of_the_controls():
    mix = Mix(TARGET, SOURCE, np.zeros((1, 4, 4)), np.ones((1, 4)), np.zeros(3, int), (0,))
    term = Term("token", np.ones(4), np.ones((2, 2)), 1.0)
    guide = Guide(TARGET, (term,), (0,), ON, 1, np.ones(3), np.ones((2, 2)))
    features = FeatureRoute(TARGET, SOURCE, (0,), ON)
    assert Plan((mix, guide, features)).needs == {"mix", "loss", "feature"}
    assert Plan((Route(TARGET, ON, (0,), key=SOURCE), Watch(0, ON))).needs == {"route"}
    assert Plan((Watch(0, ON), Also("n", TARGET, ON))).needs == frozenset()


def test_the_first_step_is_what_a_plan_says():
    assert first_step([], 5) == 0
    assert first_step([Plan(), Plan()], 5) == 0
    assert first_step([Plan(), Plan(start=2), Plan(start=2)], 5) == 2
    assert first_step([Plan(start=5)], 5) == 5


@pytest.mark.parametrize("start", [-1, 6])
def test_a_start_beyond_the_run_is_refused(start: int):
    with pytest.raises(OptionError, match=rf"'?one'? starts at step {start}; this run has steps 0"):
        first_step([Plan(owner="one", start=start)], 5)


def test_two_starts_are_refused():
    plans = [Plan(owner="one", start=2), Plan(owner="two", start=1)]
    with pytest.raises(OptionError, match="different steps, 'two' at 1 and 'one' at 2"):
        first_step(plans, 5)
