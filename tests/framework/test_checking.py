"""Controls that do not fit the run or the model are refused, each with what is wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scumble.checking import check_control, refers_to
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
from scumble.errors import NumericalError, OptionError
from scumble.ports import PortSizes
from scumble.schedule import Job
from scumble.testing.fake_engine import FEATURES, SITES, TOKENS

STEPS, GRID = 4, (6, 8)
SIZES = PortSizes((4, *GRID), TOKENS, FEATURES, SITES)
ON, MASK = np.ones(STEPS, dtype=bool), np.ones(GRID)
SOURCE, PLAIN, TARGET = Branch(0), Branch(0, False), Branch(1)
JOB = Job(
    STEPS, ("a red cat", "a blue cat"), "", frozenset({1}), True, True, True, ~ON, ~ON
)  # fmt: skip


def term(**changed: Any) -> Term:
    values: dict[str, Any] = {"words": np.ones(TOKENS), "mask": MASK, "weight": 1.0}
    return Term("token", **(values | changed))


def guide(**changed: Any) -> Guide:
    values: dict[str, Any] = {
        "branch": TARGET,
        "terms": (term(), term()),
        "sites": (0, 2),
        "steps": ON,
        "iterations": 2,
        "rate": np.ones(STEPS),
        "within": MASK,
        "stop": np.zeros(STEPS),
    }
    return Guide(**(values | changed))


def mix(**changed: Any) -> Mix:
    values: dict[str, Any] = {
        "branch": TARGET,
        "source": SOURCE,
        "matrices": np.zeros((2, TOKENS, TOKENS)),
        "own": np.ones((2, TOKENS)),
        "at": np.zeros(STEPS, int),
        "sites": (0,),
    }
    return Mix(**(values | changed))


FITTING: list[Control] = [
    Route(TARGET, ON, (0, 2), query=SOURCE, key=PLAIN, value=SOURCE),
    mix(),
    Read("r", TARGET, np.ones((3, TOKENS)), (0, 2), ON),
    FeatureRoute(TARGET, SOURCE, (1,), ON),
    Region(TARGET, MASK, MASK, (0,), ON),
    Region(TARGET, "inside", "outside", (0,), ON),
    Join(TARGET, SOURCE, (2,), ON),
    guide(),
    guide(stop=None),
    Watch(1, ON),
]


def refused(control: Control, message: str) -> None:
    with pytest.raises(OptionError, match=f"mine: {type(control).__name__}.*{message}"):
        check_control("mine", control, JOB, SIZES)


@pytest.mark.parametrize("control", FITTING, ids=lambda control: type(control).__name__)
def test_what_fits(control: Control):
    check_control("mine", control, JOB, SIZES)


@pytest.mark.parametrize("control", FITTING, ids=lambda control: type(control).__name__)
def test_every_control_covers_every_step(control: Control):
    other = replace(JOB, steps=5, identity=np.zeros(5, bool), replayed=np.zeros(5, bool))
    with pytest.raises(OptionError, match=r"covers \(4,\) steps, the run has 5"):
        check_control("mine", control, other, SIZES)


@pytest.mark.parametrize("control", FITTING, ids=lambda control: type(control).__name__)
def test_every_control_names_pictures_of_the_run(control: Control):
    changed = {"picture": 2} if isinstance(control, Watch) else {"branch": Branch(-1)}
    refused(replace(control, **changed), "names picture (2|-1) of 2")


def test_what_a_control_takes_from_is_there_too():
    gone = Branch(2)
    for control in (
        Route(TARGET, ON, (0,), query=gone),
        Route(TARGET, ON, (0,), key=gone),
        Route(TARGET, ON, (0,), value=gone),
        mix(source=gone),
        FeatureRoute(TARGET, gone, (0,), ON),
        Join(TARGET, gone, (0,), ON),
    ):
        assert refers_to(control) == (gone,)
        refused(control, "names picture 2 of 2")


def test_what_a_control_takes_from():
    assert refers_to(Route(TARGET, ON, (0,), key=SOURCE, value=PLAIN)) == (SOURCE, PLAIN)
    for control in (Region(TARGET, MASK, MASK, (0,), ON), guide(), Watch(0, ON)):
        assert refers_to(control) == ()


@pytest.mark.parametrize(
    ("control", "kind", "count"),
    [
        (Route(TARGET, ON, (0,), key=SOURCE), "self", 3),
        (Region(TARGET, MASK, MASK, (0,), ON), "self", 3),
        (Join(TARGET, SOURCE, (0,), ON), "self", 3),
        (mix(), "cross", 3),
        (Read("r", TARGET, np.ones((1, TOKENS)), (0,), ON), "cross", 3),
        (guide(), "cross", 3),
        (FeatureRoute(TARGET, SOURCE, (0,), ON), "resnet", 2),
    ],
)
def test_sites_are_of_a_kind(control: Any, kind: str, count: int):
    check_control("mine", replace(control, sites=(count - 1,)), JOB, SIZES)
    for sites in ((), (-1,), (0, count)):
        refused(replace(control, sites=sites), f"{kind} sites .*; there are 0 to {count - 1}")


@pytest.mark.parametrize(
    ("control", "what"),
    [
        (mix(matrices=np.zeros((2, 5, 5)), own=np.ones((2, 5))), "matrices"),
        (Read("r", TARGET, np.ones((1, TOKENS + 1)), (0,), ON), "weights"),
        (Read("r", TARGET, np.ones(TOKENS), (0,), ON), "weights"),
        (Region(TARGET, np.ones((8, 6)), MASK, (0,), ON), "query"),
        (Region(TARGET, "inside", np.ones((6, 6)), (0,), ON), "key"),
        (guide(rate=np.ones(3)), "rate"),
        (guide(within=np.ones((3, 4))), "within"),
        (guide(stop=np.ones(5)), "stop"),
        (guide(terms=(term(), term(words=np.ones(3)))), "words of term 1"),
        (guide(terms=(term(rest=np.ones(3)),)), "rest of term 0"),
        (guide(terms=(term(mask=np.ones((8, 6))),)), "mask of term 0"),
    ],
)
def test_arrays_have_the_models_sizes(control: Control, what: str):
    refused(control, f"{what} has shape .* this model needs")


@pytest.mark.parametrize(
    ("control", "what"),
    [
        (mix(matrices=np.full((2, TOKENS, TOKENS), np.nan)), "matrices"),
        (mix(own=np.full((2, TOKENS), np.inf)), "own"),
        (guide(rate=np.full(STEPS, np.nan)), "rate"),
        (guide(terms=(term(words=np.full(TOKENS, np.nan)),)), "words of term 0"),
    ],
)
def test_numbers_that_are_none(control: Control, what: str):
    with pytest.raises(NumericalError, match=f"mine: {type(control).__name__}: {what}"):
        check_control("mine", control, JOB, SIZES)


@pytest.mark.parametrize("branch", [SOURCE, PLAIN, Branch(1, False)])
def test_a_guide_moves_a_target(branch: Branch):
    refused(guide(branch=branch), "moves a row that is no target's with text")


def test_a_plan_without_an_owner():
    with pytest.raises(OptionError, match=r"^a plan: Watch names"):
        check_control("", Watch(9, ON), JOB, SIZES)
