"""The ports of the gradients that come before a step."""

from typing import Any

import numpy as np
import pytest

from scumble.controls import (
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
)
from scumble.errors import OptionError
from scumble.guided import GuideStep, plan_guide
from scumble.ports import PortSizes, check_inputs, neutral
from scumble.testing.fake_engine import FEATURES, SITES, TOKENS

SIZES = PortSizes((4, 8, 8), TOKENS, FEATURES, SITES)
ON, MASK = np.ones(2, dtype=bool), np.ones((8, 8))
SOURCE, TARGET = Branch(0), Branch(1)
LEFT = np.repeat([[1.0] * 4 + [0.0] * 4], 8, axis=0)
ROUTE = Route(TARGET, ON, (0, 2), query=SOURCE, key=TARGET)
MIX = Mix(TARGET, SOURCE, np.eye(TOKENS)[None], np.zeros((1, TOKENS)), np.zeros(2, int), (1,))


def words(*places: int) -> Any:
    return np.isin(np.arange(TOKENS), places).astype(float)


def guide(*terms: Term, **changed: Any) -> Guide:
    values: dict[str, Any] = {
        "branch": TARGET,
        "terms": terms or (Term("token", words(2), MASK, 1.0),),
        "sites": (0, 2),
        "steps": ON,
        "iterations": 3,
        "rate": np.array([0.5, 0.25]),
        "within": LEFT,
    }
    return Guide(**(values | changed))


def planned(of: Guide, *active: Control, index: int = 1) -> GuideStep:
    controls = [("mine", of), *(("other", control) for control in active)]
    return plan_guide("mine", of, controls, "a blue cat", SIZES, index)


def test_a_guide_at_a_step():
    step = planned(guide(constant=0.75, stop=np.array([0.1, 0.2])))
    assert (step.picture, step.iterations, step.rate) == (1, 3, 0.25)
    assert (step.constant, step.stop) == (0.75, 0.2)
    np.testing.assert_array_equal(step.within, LEFT)
    assert planned(guide()).stop is None
    assert planned(guide(), index=0).rate == 0.5


def test_terms_become_the_ports_of_a_loss():
    rest = np.arange(TOKENS, dtype=float)
    step = planned(
        guide(
            Term("token", words(2), LEFT, 3.0),
            Term("space", words(4, 5), 1 - LEFT, -2.0),
            Term("token", words(1), MASK, 0.5, rest=rest),
        )
    )
    (call,) = step.calls
    assert call.text == "a blue cat"
    ports = call.ports
    np.testing.assert_array_equal(ports["loss.words"], [[words(2), words(4, 5), words(1)]])
    np.testing.assert_array_equal(ports["loss.rest"], [[np.ones(TOKENS), np.ones(TOKENS), rest]])
    np.testing.assert_array_equal(ports["loss.masks"], [[LEFT, 1 - LEFT, MASK]])
    np.testing.assert_array_equal(ports["loss.weights"], [[[3, 0], [0, -2], [0.5, 0]]])
    assert ports["loss.sites"].tolist() == [1, 0, 1]


def test_terms_of_several_prompts_are_a_call_each():
    step = planned(
        guide(
            Term("token", words(1), MASK, 1.0),
            Term("token", words(2), MASK, 2.0, text="a cat"),
            Term("space", words(3), MASK, 3.0, text="a blue cat"),
            Term("space", words(4), MASK, 4.0, text="a cat"),
        ),
        MIX,
    )
    assert [call.text for call in step.calls] == ["a blue cat", "a cat"]
    found = [call.ports["loss.words"][0] for call in step.calls]
    np.testing.assert_array_equal(found, [[words(1), words(3)], [words(2), words(4)]])
    for call in step.calls:
        assert call.ports["mix.row"].tolist() == [1]


def test_edits_in_force_hold_in_the_gradient():
    (call,) = planned(guide(), ROUTE, MIX).calls
    assert call.ports["route"][:, :, 0].tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    assert call.ports["mix.row"].tolist() == [1]
    assert call.ports["mix.sites"].tolist() == [[0], [1], [0]]
    np.testing.assert_array_equal(call.ports["mix.source"][0], np.eye(TOKENS))


def test_without_edits_routes_and_mixes_are_neutral():
    """A gradient is one graph: it takes them in any case."""
    elsewhere = Route(Branch(2), ON, (0,), key=Branch(1))
    read = Read("r", TARGET, np.ones((1, TOKENS)), (1,), ON)
    (call,) = planned(guide(), elsewhere, read, Watch(0, ON), guide()).calls
    for group in ("route", "mix"):
        for name, value in neutral(group, SIZES, 1).items():
            np.testing.assert_array_equal(call.ports[name], value)


def test_the_ports_are_those_of_a_gradient():
    (call,) = planned(guide(), ROUTE, MIX).calls
    ports = {
        **call.ports,
        "sample": np.zeros((1, 4, 8, 8)),
        "timestep": np.zeros(1, np.int64),
        "text": np.zeros((1, TOKENS, FEATURES)),
        "source.text": np.zeros((1, TOKENS, FEATURES)),
    }
    assert check_inputs(ports, SIZES) == 1


REGION = Region(TARGET, MASK, MASK, (0,), ON)


@pytest.mark.parametrize(
    "control",
    [
        REGION,
        Region(TARGET, "here", "there", (0,), ON),
        Join(TARGET, SOURCE, (0,), ON),
        FeatureRoute(TARGET, SOURCE, (0,), ON),
        Route(TARGET, ON, (0,), key=Branch(2)),
        Route(TARGET, ON, (0,), value=Branch(0, False)),
        Mix(TARGET, Branch(2), MIX.matrices, MIX.own, MIX.at, (0,)),
    ],
    ids=["region", "named", "join", "features", "a target's keys", "no text", "a target's maps"],
)
def test_an_edit_that_has_no_gradient(control: Control):
    message = f"mine: picture 1 is guided at step 1 while other's {type(control).__name__} is in"
    with pytest.raises(OptionError, match=message):
        planned(guide(), control)


@pytest.mark.parametrize("edit", [ROUTE, MIX])
def test_a_source_that_is_edited_itself(edit: Control):
    """What it told is its state without."""
    with pytest.raises(OptionError, match="while that is not edited"):
        planned(guide(), edit, Region(SOURCE, MASK, MASK, (0,), ON))
    planned(guide(), edit, Read("r", SOURCE, np.ones((1, TOKENS)), (0,), ON), Watch(0, ON))
    planned(guide(), Region(SOURCE, MASK, MASK, (0,), ON))  # of which nothing is taken
