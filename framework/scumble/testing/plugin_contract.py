"""The contract of every plugin, check by check: for its author's tests and `scumble plugins test`.

A check ends in a `Finding`: passed, failed, or not applicable with the reason. Those of `CHECKS`
run on the engine in numpy and take well under a second; `works` is for any that is installed.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ValidationError

from scumble.errors import EngineError, ModelError, OptionError, PluginError, UnsupportedError
from scumble.opening import open_session
from scumble.pipeline import Finished
from scumble.plugins import Plugin
from scumble.ports import Group
from scumble.requests import EngineRequest
from scumble.session import Session
from scumble.testing.bounds import beyond
from scumble.testing.fake_engine import FakeEngine
from scumble.testing.subject import Subject, difference

__all__ = ["CHECKS", "FAKE", "Finding", "check_plugin", "findings", "hold", "works"]

FAKE = "fake"
"""The engine in numpy."""
TOLERANCE = 1e-9
"""Of runs with and without the planner's reductions, in float64."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check.

    Attributes:
        check: its name.
        engine: on which it ran.
        outcome: passed, failed, or not applicable.
        said: what was found.
    """

    check: str
    engine: str
    outcome: Literal["passed", "failed", "not applicable"]
    said: str


class Inapplicable(Exception):
    """The plugin gives this check nothing to look at; the message says why."""


class Bare(FakeEngine):
    """A UNet that cannot be told anything."""

    name: ClassVar[str] = "bare"
    groups: ClassVar[frozenset[Group]] = frozenset()


def options(subject: Subject) -> str:
    """Options are checked: unknown keys and values out of range are refused, none can change."""
    _refused(subject, "no_such_option", 0)
    tried = list(beyond(subject.kind.options_type.model_json_schema()))
    for name, value in tried:
        _refused(subject, name, value)
    given: object = subject.made(subject.trial.options).options
    for name in subject.kind.options_type.model_fields:
        try:
            setattr(given, name, getattr(given, name))
        except ValidationError:
            continue
        raise AssertionError(f"option {name!r} can be changed while a run is on; keep it frozen.")
    return f"an unknown option and {len(tried)} values out of range are refused."


def neutral(subject: Subject) -> str:
    """With its neutral options the plugin changes no bit."""
    if not subject.edits:
        raise Inapplicable("it has no say in the run itself.")
    if subject.trial.neutral is None:
        raise Inapplicable("its trial names no neutral options.")
    _require_same(subject.run(subject.trial.neutral), subject.run(None), "neutral options change")
    return "neutral options leave the run as it is, bit for bit."


def deterministic(subject: Subject) -> str:
    """Two runs agree bit for bit, whatever numpy's global generator holds."""
    state = np.random.get_state(legacy=False)
    runs: list[Finished] = []
    try:
        for seed in (1, 2):
            np.random.seed(seed)
            runs.append(subject.run(subject.trial.options))
    finally:
        np.random.set_state(state)
    what = "two runs differ, so it draws from something else than run.random():"
    _require_same(runs[0], runs[1], what)
    return "two runs agree, bit for bit."


def tidy(subject: Subject) -> str:
    """No run leaves anything behind: numpy, what was given, the class, or the next instance."""
    given = copy.deepcopy((subject.picture, dict(subject.trial.options)))
    before = subject.state()
    first = subject.run(subject.trial.options)
    disturbed = [note for note in first.notes if note.startswith("plugin ")]
    if disturbed:
        raise AssertionError(" ".join(disturbed))
    if not np.array_equal(given[0], subject.picture) or given[1] != dict(subject.trial.options):
        raise AssertionError("what it was given is another after the run; take a copy.")
    subject.run(subject.trial.options, seed=1)
    if subject.state() != before:
        raise AssertionError("a run changed an attribute of the class; keep state on the instance.")
    again = subject.run(subject.trial.options)
    _require_same(first, again, "a run depends on those before it; keep state on the instance:")
    return "numpy, inputs and class are as they were, and a later run is the same."


def effect(subject: Subject) -> str:
    """The trial's options change the picture."""
    return _require_effect(subject, None)


def exact(subject: Subject) -> str:
    """The planner's reductions change nothing: the plan says all that the plugin looks at."""
    on, off = (subject.run(subject.trial.options, reduce=reduce) for reduce in (True, False))
    moved = difference(on, off)
    if not moved <= TOLERANCE:
        raise AssertionError(
            f"it depends on rows that its plan does not ask for, by {moved:.1e}; name the latents "
            "that it looks at in a Watch."
        )
    return f"whole runs with every row and with those needed differ by {moved:.0e}."


def refused(subject: Subject) -> str:
    """An engine that lacks what the plugin needs is refused before the first step."""
    with subject.model(engine=Bare) as session:
        try:
            done = subject.run(subject.trial.options, session=session)
        except UnsupportedError as error:
            return f"refused: {error}"
    # Nothing was told to the UNet, so that any engine gives the same.
    _require_same(done, subject.run(subject.trial.options), "an engine without its ports gives")
    return "it needs no port beyond the plain ones."


CHECKS: dict[str, Callable[[Subject], str]] = {
    check.__name__: check
    for check in (options, neutral, deterministic, tidy, effect, exact, refused)
}
"""Every check that needs no other engine, by name."""


def works(subject: Subject, engine: str) -> str:
    """The trial runs on an engine, or is refused there for what the engine lacks."""
    try:
        session, _ = open_session(EngineRequest(engine=engine), 0, None)
    except (EngineError, ModelError, OptionError, PluginError) as error:
        raise Inapplicable(f"the engine cannot be used here: {error}") from error
    try:
        return _require_effect(subject, session)
    except UnsupportedError as error:
        return f"refused: {error}"
    finally:
        session.close()


def findings(plugin: str | type[Plugin], engines: Sequence[str] = ()) -> Iterator[Finding]:
    """Yield what comes of every check, one after the other.

    Args:
        plugin: an installed plugin's name, or a class.
        engines: further ones, on which it is to work.

    Raises:
        OptionError: nothing of that name is installed.
        PluginError: it cannot be loaded.
    """
    subject = Subject.of(plugin)
    for check in CHECKS:
        yield _find(subject, check, FAKE)
    for engine in engines:
        yield _find(subject, "works", engine)


def check_plugin(plugin: str | type[Plugin], engines: Sequence[str] = ()) -> list[Finding]:
    """Return what comes of every check; see `findings`."""
    return list(findings(plugin, engines))


def hold(plugin: str | type[Plugin], check: str, engine: str = FAKE) -> Finding:
    """Return what comes of one check, for a test that is parametrised with `CHECKS`.

    Args:
        plugin: an installed plugin's name, or a class.
        check: of `CHECKS`, or `works`.
        engine: of `works`.

    Raises:
        AssertionError: it failed; the message says what was found.
    """
    found = _find(Subject.of(plugin), check, engine)
    if found.outcome == "failed":
        raise AssertionError(f"{found.check} on engine {found.engine!r}: {found.said}")
    return found


def _find(subject: Subject, check: str, engine: str) -> Finding:
    try:
        said = CHECKS[check](subject) if check in CHECKS else works(subject, engine)
        return Finding(check, engine, "passed", said)
    except Inapplicable as reason:
        return Finding(check, engine, "not applicable", str(reason))
    except UnsupportedError as error:
        return Finding(check, engine, "not applicable", str(error))
    except AssertionError as error:
        return Finding(check, engine, "failed", str(error))
    # Whatever else a stranger's code raises is a finding, too.
    except Exception as error:
        return Finding(check, engine, "failed", f"{type(error).__name__}: {error}")


def _require_effect(subject: Subject, session: Session | None) -> str:
    done = subject.run(subject.trial.options, session=session)
    if subject.inverts:
        trajectory = done.trajectory
        if trajectory is None or np.array_equal(trajectory.latents[0], trajectory.latents[-1]):
            raise AssertionError("the way from the picture to its noise ends where it began.")
        return f"it runs, {done.rows.get('inversion', 0)} rows to invert."
    moved = difference(done, subject.run(None, session=session))
    if not moved > 0:
        raise AssertionError(
            "the trial's options change nothing and raise nothing; name options that do, or refuse."
        )
    return f"it runs, {sum(done.rows.values())} rows, and changes a latent by up to {moved:.2g}."


def _refused(subject: Subject, name: str, value: object) -> None:
    try:
        subject.made({**subject.trial.options, name: value})
    except OptionError:
        return
    raise AssertionError(f"option {name!r} takes {value!r}, which it has to refuse.")


def _require_same(one: Finished, other: Finished, what: str) -> None:
    moved = difference(one, other)
    if not moved <= 0:
        raise AssertionError(f"{what} a latent by {moved:.1e}.")
