"""A plan is a tuple of controls, and says what it needs."""

import numpy as np

from scumble.controls import Branch, FeatureRoute, Guide, Mix, Route, Term, Watch
from scumble.plans import Plan, steps_between

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
    assert Plan((Watch(0, ON),)).needs == frozenset()
