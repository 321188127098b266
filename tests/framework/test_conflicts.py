"""Controls that write one port at the same site, step and row are found; all others go together."""

from typing import Any

import numpy as np
import pytest

from scumble.conflicts import require_apart
from scumble.controls import Branch, Control, FeatureRoute, Join, Mix, Read, Region, Route, Watch
from scumble.errors import OptionError
from scumble.plans import Plan, steps_between
from scumble.testing.fake_engine import SITES, TOKENS

SOURCE, PLAIN, TARGET, TARGET_PLAIN = Branch(0), Branch(0, False), Branch(1), Branch(1, False)
ON = np.ones(4, dtype=bool)
LATE = steps_between(4, 2, 4)
SELF = "mid_block.attentions.0.transformer_blocks.0.attn1"
CROSS = "up_blocks.1.attentions.0.transformer_blocks.0.attn2"


def mix(branch: Branch, on: Any = ON, sites: tuple[int, ...] = (0, 1, 2)) -> Mix:
    matrix, own = np.full((1, TOKENS, TOKENS), 0.5), np.ones((1, TOKENS))
    return Mix(branch, SOURCE, matrix, own, np.where(on, 0, -1), sites)


def said(first: Control, second: Control, *owners: str) -> str:
    one, two = owners or ("alpha", "beta")
    with pytest.raises(OptionError) as caught:
        require_apart([Plan((first,), one), Plan((second,), two)], SITES)
    return str(caught.value)


def test_the_whole_sentence():
    first = Route(TARGET, ON, (0, 1), query=SOURCE, key=SOURCE)
    assert said(first, Route(TARGET, LATE, (1, 2), key=PLAIN, value=SOURCE)) == (
        f"port 'route.k' of target 1 with its text is written at step 2 and site {SELF} by plugins "
        "'alpha' and 'beta'; use one of them, or other steps or sites."
    )


@pytest.mark.parametrize(
    ("branch", "row"),
    [
        (SOURCE, "the source with its text"),
        (PLAIN, "the source without text"),
        (Branch(2, False), "target 2 without text"),
        (Branch(1, "a dog"), "target 1 with the text 'a dog'"),
    ],
)
def test_the_row_is_named(branch: Branch, row: str):
    route = Route(branch, ON, (0,), value=TARGET)
    assert f"'route.v' of {row} is written at step 0" in said(route, route)


def test_a_plugin_can_contradict_itself():
    route = Route(TARGET, ON, (0,), key=SOURCE)
    assert "by plugin 'one' twice; use" in said(route, route, "one", "one")
    with pytest.raises(OptionError, match="by plugin 'one' twice"):
        require_apart([Plan((route, route), "one")], SITES)


def test_features():
    control = FeatureRoute(TARGET, SOURCE, (1,), ON)
    message = said(control, FeatureRoute(TARGET, SOURCE, (0, 1), LATE))
    assert "'feature_route' of target 1" in message
    assert "step 2 and site up_blocks.1.resnets.0 by" in message


@pytest.mark.parametrize(
    ("port", "first", "second"),
    [
        ("mix", mix(TARGET, sites=(0,)), mix(TARGET, LATE, sites=(2,))),
        (
            "region",
            Region(TARGET, np.eye(8), np.eye(8), (0,), ON),
            Region(TARGET, "a", "b", (2,), LATE),
        ),
        ("join", Join(TARGET, SOURCE, (0,), ON), Join(TARGET, PLAIN, (2,), LATE)),
    ],
)
def test_what_a_row_has_once_for_all_sites(port: str, first: Control, second: Control):
    kind = "attn2" if port == "mix" else "attn1"
    path = f"up_blocks.1.attentions.0.transformer_blocks.0.{kind}"
    assert said(first, second) == (
        f"port '{port}' of target 1 with its text is written at step 2 and site {path} by plugins "
        f"'alpha' and 'beta', and a row has one {port} for all sites; use one of them, or other "
        "steps."
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Route(TARGET, ON, (0,), key=SOURCE), Route(TARGET, ON, (0,), value=SOURCE)),
        (Route(TARGET, ON, (0,), key=SOURCE), Route(TARGET, ON, (1,), key=SOURCE)),
        (Route(TARGET, ON, (0,), key=SOURCE), Route(TARGET_PLAIN, ON, (0,), key=SOURCE)),
        (Route(TARGET, ~LATE, (0,), key=SOURCE), Route(TARGET, LATE, (0,), key=SOURCE)),
        (Route(TARGET, ON, (0,), key=SOURCE), mix(TARGET)),
        (mix(TARGET, ~LATE), mix(TARGET, LATE)),
        (mix(TARGET), mix(TARGET_PLAIN)),
        (Join(TARGET, SOURCE, (0,), ON), Join(TARGET_PLAIN, SOURCE, (0,), ON)),
        (FeatureRoute(TARGET, SOURCE, (0,), ON), FeatureRoute(TARGET, SOURCE, (1,), ON)),
        (Region(TARGET, "a", "a", (0,), ON), Join(TARGET, SOURCE, (0,), ON)),
        (Watch(0, ON), Watch(0, ON)),
        (
            Read("a", TARGET, np.ones((1, TOKENS)), (0,), ON),
            Read("b", TARGET, np.ones((1, TOKENS)), (0,), ON),
        ),
    ],
)
def test_what_goes_together(first: Control, second: Control):
    require_apart([Plan((first,), "alpha"), Plan((second,), "beta")], SITES)
    require_apart([Plan((first, second), "alpha")], SITES)


def test_a_mix_that_changes_nothing_is_none():
    idle = Mix(TARGET, SOURCE, np.zeros((1, TOKENS, TOKENS)), np.ones((1, TOKENS)), 0 * ON, (0,))
    require_apart([Plan((idle,), "alpha"), Plan((mix(TARGET),), "beta")], SITES)


def test_a_site_that_is_not_there_is_another_fault():
    route = Route(TARGET, ON, (9,), key=SOURCE)
    assert "and site 9 by" in said(route, route)
