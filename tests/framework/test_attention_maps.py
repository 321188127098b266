"""Maps are computed when asked for, from the latents that the run went through."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.attention_maps import RunMaps
from scumble.controls import (
    Branch,
    Mix,
    Read,
    Region,
    Route,
    Watch,
)
from scumble.errors import PromptError
from scumble.hookspecs import BeforeView, RunView, StepView, hookimpl
from scumble.host import Host
from scumble.pipeline import Finished, Pipeline
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.requests import SamplingRequest
from scumble.session import Session

STEPS = 4


class Takes(Plugin):
    """Takes the source's cross-attention in the first half, and reads a word on its own account."""

    def __init__(self) -> None:
        super().__init__(NoOptions())
        self.seen: list[Floats] = []

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        tokens = len(run.source.ids)
        at = np.where(np.arange(run.steps) < run.steps // 2, 0, -1)
        mix = Mix(Branch(1), Branch(0), np.eye(tokens)[None], np.zeros((1, tokens)), at, (0, 1, 2))
        weights = np.zeros((1, tokens))
        weights[0, list(run.targets[0].tokens_of("blue"))] = 1
        on = np.ones(run.steps, dtype=bool)
        return Plan((mix, Read("blue", Branch(1), weights, (0, 2), on), Watch(0, on)))

    @hookimpl
    def scumble_after_step(self, step: StepView) -> Mapping[int, Floats] | None:
        self.seen.append(step.reads["blue"][0])
        return None


def finished(session: Session, plugin: Plugin, **given: Any) -> Finished:
    values: dict[str, Any] = {
        "prompts": ("a red cat", "a blue cat"),
        "wanted": frozenset({0, 1}),
    }
    request = SamplingRequest(steps=STEPS)
    return Pipeline(session, request, host=Host.of(p=plugin), **(values | given)).finish()


@pytest.fixture
def maps(session: Session) -> RunMaps:
    return finished(session, Takes()).maps


def test_a_map_is_the_mean_of_what_a_read_sees_after_the_edit(session: Session):
    plugin = Takes()
    maps = finished(session, plugin).maps
    np.testing.assert_allclose(maps["blue"].values, np.mean(plugin.seen, axis=0), rtol=1e-6)
    assert maps["blue"].side == "target"
    assert maps["blue"].values.shape == (8, 8)


def test_masks_that_were_given_step_by_step_hold_in_a_map(session: Session):
    class Divides(Takes):
        @hookimpl
        def scumble_plan(self, run: RunView) -> Plan:
            region = Region(Branch(1), "m", "m", (0, 1, 2), np.ones(run.steps, dtype=bool))
            return Plan((*super().scumble_plan(run).controls, region))

        @hookimpl
        def scumble_before_step(self, run: RunView, step: BeforeView) -> dict[str, Floats]:
            return {"m": np.roll(np.eye(*run.latent), 2 * step.index, axis=0)}

    plugin = Divides()
    maps = finished(session, plugin).maps
    np.testing.assert_allclose(maps["blue"].values, np.mean(plugin.seen, axis=0), rtol=1e-6)
    undivided = finished(session, Takes()).maps["blue"]
    assert np.abs(maps["blue"].values - undivided.values).max() > 1e-4


def test_it_is_computed_once(session: Session):
    maps = finished(session, Takes()).maps
    session.rows.clear()
    first = maps["blue"]
    assert session.rows["maps"] > 0
    session.rows.clear()
    assert maps["blue"] is first
    assert not session.rows


def test_a_word_is_looked_up_in_the_targets_then_in_the_source(maps: RunMaps):
    assert maps["red"].side == "source"
    assert maps["cat"].side == "target"
    assert maps.of("cat", 0).side == "source"
    assert not np.array_equal(maps.of("cat", 0).values, maps["cat"].values)


def test_it_is_a_mapping_of_words(maps: RunMaps):
    assert list(maps) == ["a", "blue", "cat", "red"]
    assert len(maps) == 4
    assert "blue" in dict(maps)


def test_a_word_that_is_nowhere(maps: RunMaps):
    with pytest.raises(PromptError, match="dog"):
        maps["dog"]
    with pytest.raises(PromptError, match="blue"):
        maps.of("blue", 0)


def test_every_token_together_is_all_of_the_attention(session: Session):
    """What each cell looks at sums to one over the tokens, BOS and padding among them."""
    maps = finished(session, Takes()).maps
    total = sum(maps.of(word, 0).values for word in ("a", "red", "cat"))
    assert isinstance(total, np.ndarray)
    assert (total > 0).all()
    assert (total < 1).all()


def test_a_source_that_stopped_moving_is_mapped_up_to_there(session: Session):
    """Its map must not be taken from a latent of an earlier step, told to be of a later one."""

    class Early(Plugin):
        @hookimpl
        def scumble_plan(self, run: RunView) -> Plan:
            on = np.arange(run.steps) < 2
            return Plan((Route(Branch(1), on, (0, 1, 2), key=Branch(0)),))

    class Looks(Plugin):
        seen: ClassVar[list[Floats]] = []

        @hookimpl
        def scumble_plan(self, run: RunView) -> Plan:
            weights = np.zeros((1, len(run.source.ids)))
            weights[0, list(run.source.tokens_of("red"))] = 1
            on = np.arange(run.steps) < 2
            return Plan((Read("red", Branch(0), weights, (0, 2), on),))

        @hookimpl
        def scumble_after_step(self, step: StepView) -> None:
            self.seen.extend(step.reads.values())

    done = finished(session, Early(NoOptions()), wanted=frozenset({1}))
    assert set(done.latents) == {1}
    finished(session, Looks(NoOptions()))
    expected = np.mean(Looks.seen, axis=0)[0]
    np.testing.assert_allclose(done.maps.of("red", 0).values, expected, rtol=1e-6)


def test_a_map_costs_a_row_a_step_and_what_the_edit_takes_from(session: Session):
    maps = finished(session, Takes()).maps
    for word, rows in (("red", STEPS), ("blue", STEPS + STEPS // 2)):
        session.rows.clear()
        _ = maps[word]
        assert session.rows == {"maps": rows}
