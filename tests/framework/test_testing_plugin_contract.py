"""Each check passes what keeps the contract, and catches what breaks it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest
from pydantic import ConfigDict, Field

from scumble import checking, matching
from scumble.arrays import Floats
from scumble.controls import Branch, Guide, Route, Term
from scumble.errors import ModelError, OptionError, PluginError, UnsupportedError
from scumble.hookspecs import RunView, StepView, Trajectory, hookimpl
from scumble.options import Options
from scumble.plans import Plan, steps_between
from scumble.plugins import Plugin, Trial
from scumble.testing import fake_session, plugin_contract
from scumble.testing.plugin_contract import CHECKS, FAKE, Finding, check_plugin, hold

SOURCE, TARGET = Branch(0), Branch(1)


class Amount(Options):
    """How much.

    Attributes:
        share: of the steps.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.5


class Routes(Plugin):
    """A plugin as it should be."""

    options_type = Amount
    options: Amount
    trial = Trial(neutral={"share": 0})

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        on = steps_between(run.steps, 0, round(self.options.share * run.steps))
        return Plan((Route(TARGET, on, run.sites.select("self"), key=SOURCE),))


class Blends(Plugin):
    """Needs no port."""

    @hookimpl
    def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
        return {1: step.latents[1] * 0.9}


@pytest.fixture(autouse=True)
def _no_engine_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal names engines that would do; finding them takes seconds."""
    for module in (checking, matching):
        monkeypatch.setattr(module, "engines_with", lambda _: ["torch"])


def failed(kind: type[Plugin], check: str, message: str) -> None:
    with pytest.raises(AssertionError, match=f"^{check} on engine 'fake': .*{message}"):
        hold(kind, check)


def passed(kind: type[Plugin], *but: str) -> None:
    for check in CHECKS:
        if check not in but:
            assert hold(kind, check).outcome in ("passed", "not applicable")


def test_a_good_one_passes_them_all():
    found = check_plugin(Routes)
    assert [one.check for one in found] == list(CHECKS)
    assert {(one.engine, one.outcome) for one in found} == {(FAKE, "passed")}
    said = {one.check: one.said for one in found}
    assert said["options"] == "an unknown option and 2 values out of range are refused."
    assert "route" in said["refused"]
    assert "refused" in said["refused"]


def test_one_without_ports_runs_anywhere():
    found = {one.check: one for one in check_plugin(Blends)}
    assert found["refused"] == Finding(
        "refused", FAKE, "passed", "it needs no port beyond the plain ones."
    )
    assert (found["neutral"].outcome, found["effect"].outcome) == ("not applicable", "passed")
    assert found["neutral"].said == "its trial names no neutral options."


class TestOptions:
    def test_unknown_ones_must_be_refused(self):
        class Loose(Amount):
            model_config = ConfigDict(extra="ignore")

        class Odd(Routes):
            options_type = Loose

        failed(Odd, "options", "'no_such_option' takes 0, which it has to refuse")

    def test_so_must_values_out_of_range(self):
        class Loose(Amount):
            @classmethod
            def model_validate(cls, obj: Any, **_: Any) -> Any:
                known = {name: obj[name] for name in obj if name == "share"}
                if len(known) < len(obj):
                    return super().model_validate(obj)
                return cls.model_construct(**known)

        class Odd(Routes):
            options_type = Loose

        failed(Odd, "options", "'share' takes -1")

    def test_and_none_can_change(self):
        class Loose(Amount):
            model_config = ConfigDict(frozen=False)

        class Odd(Routes):
            options_type = Loose

        failed(Odd, "options", "'share' can be changed while a run is on")


def test_neutral_options_that_are_none():
    class Odd(Routes):
        trial = Trial(neutral={"share": 0.3})

    failed(Odd, "neutral", "neutral options change a latent by")
    passed(Odd, "neutral")


def test_other_randomness():
    class Odd(Plugin):
        @hookimpl
        def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
            return {1: step.latents[1] + np.random.standard_normal(step.latents[1].shape)}

    state = np.random.get_state(legacy=False)
    failed(Odd, "deterministic", r"run.random\(\)")
    now = np.random.get_state(legacy=False)
    np.testing.assert_array_equal(now["state"]["key"], state["state"]["key"])
    failed(Odd, "tidy", "changed numpy's global random state in scumble_after_step")


class TestTidy:
    def test_state_on_the_class(self):
        class Odd(Blends):
            count: ClassVar[list[int]] = []

            @hookimpl
            def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
                self.count.append(step.index)
                return {1: step.latents[1] * 0.9}

        failed(Odd, "tidy", "a run changed an attribute of the class")
        passed(Odd, "tidy")

    def test_state_that_the_next_instance_sees(self):
        shared = {"factor": 1.0}

        class Odd(Blends):
            @hookimpl
            def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
                shared["factor"] *= 0.9
                return {1: step.latents[1] * shared["factor"]}

        failed(Odd, "tidy", "a run depends on those before it")

    def test_what_it_was_given(self):
        class Grows(Options):
            names: tuple[Any, ...] = ()

        class Odd(Blends):
            options_type = Grows
            trial = Trial({"names": (["a"],)})

            @hookimpl
            def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
                self.options.names[0].append("b")
                return {1: step.latents[1] * 0.9}

        failed(Odd, "tidy", "what it was given is another after the run")


def test_options_without_effect():
    class Odd(Routes):
        trial = Trial({"share": 0})

    failed(Odd, "effect", "change nothing and raise nothing")
    passed(Odd, "effect")


def test_a_trial_that_is_refused_tests_nothing():
    class Odd(Routes):
        trial = Trial({"share": 3})

    for check in ("options", "deterministic", "tidy", "effect", "exact", "refused"):
        failed(Odd, check, "OptionError: plugin 'Odd': share is 3")


def test_a_plugin_that_breaks():
    class Odd(Plugin):
        @hookimpl
        def scumble_plan(self, run: RunView) -> Plan:
            raise RuntimeError("no luck")

    for check in ("deterministic", "tidy", "effect", "exact", "refused"):
        failed(Odd, check, "PluginError: plugin 'Odd' of this program raised RuntimeError in")


class Drifts(Plugin):
    """An inversion that gives random levels."""

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        assert run.image is not None
        levels = run.random().standard_normal((run.steps + 1, *run.image.shape))
        return Trajectory(levels, pinned=False)


class Stays(Plugin):
    """An inversion that goes nowhere."""

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        assert run.image is not None
        return Trajectory(np.stack([run.image] * (run.steps + 1)), pinned=True)


def test_an_inversion():
    passed(Drifts)
    assert hold(Drifts, "neutral").said == "it has no say in the run itself."
    failed(Stays, "effect", "ends where it began")


class Unwatched(Drifts):
    """Blends in the source's latent and does not say so."""

    @hookimpl
    def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
        return {1: (step.latents[1] + step.latents[0]) / 2}


def test_a_latent_that_is_not_watched():
    failed(Unwatched, "exact", "depends on rows that its plan does not ask for")


class Guides(Plugin):
    """Needs gradients by the latent, at one step."""

    trial = Trial(steps=1)

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        on, rate = np.ones(run.steps, dtype=bool), np.ones(run.steps)
        words, mask = np.zeros(len(run.source.ids)), np.ones(run.latent)
        words[2] = 1
        term = Term("token", words, mask, 1.0)
        sites = run.sites.select("cross", strides=(1,))
        return Plan((Guide(TARGET, (term,), sites, on, 1, rate, mask),))


class Matches(Plugin):
    """Needs gradients by the text."""

    @hookimpl
    def scumble_plan(self, run: RunView) -> None:
        assert run.image is not None
        run.match(run.image, 1, run.embed("a cat"), run.image, 1.0)


def test_the_engine_in_numpy_has_gradients_of_maps():
    found = hold(Guides, "effect")
    assert (found.outcome, found.said[:8]) == ("passed", "it runs,")
    assert hold(Guides, "refused").said.startswith("refused: Guides needs gradients")


def test_what_it_lacks_is_not_applicable():
    found = hold(Matches, "effect")
    assert found.outcome == "not applicable"
    assert "engine 'fake' has no gradient by the text" in found.said
    assert hold(Matches, "refused").outcome == "passed"


class TestWorks:
    @pytest.mark.parametrize(
        ("error", "outcome", "said"),
        [
            (UnsupportedError("it lacks that."), "not applicable", "cannot be used here: it lack"),
            (ModelError("no model."), "not applicable", "cannot be used here: no model."),
            (PluginError("no runtime."), "not applicable", "cannot be used here: no runtime."),
            (OptionError("no engine."), "not applicable", "cannot be used here: no engine."),
            (KeyError("x"), "failed", "KeyError: 'x'"),
        ],
    )
    def test_an_engine_that_does_not_open(
        self, monkeypatch: pytest.MonkeyPatch, error: Exception, outcome: str, said: str
    ):
        def fail(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(plugin_contract, "open_session", fail)
        found = check_plugin(Routes, ["other"])[-1]
        assert (found.check, found.engine, found.outcome) == ("works", "other", outcome)
        assert said in found.said

    def test_one_that_runs_or_refuses_and_is_closed(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ):
        closed: list[str] = []

        def opened(asked: Any, *_: Any) -> Any:
            kind = {"fake": plugin_contract.FakeEngine, "bare": plugin_contract.Bare}[asked.engine]
            session = fake_session(tmp_path / asked.engine, kind)
            monkeypatch.setattr(session, "close", lambda: closed.append(asked.engine))
            return session, asked.engine

        monkeypatch.setattr(plugin_contract, "open_session", opened)
        ran, refused = (hold(Routes, "works", engine) for engine in ("fake", "bare"))
        assert ran.said.startswith("it runs, ")
        assert refused.said.startswith("refused: Routes needs route in one step, which engine 'ba")
        assert (ran.outcome, refused.outcome, closed) == ("passed", "passed", ["fake", "bare"])
