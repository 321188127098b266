"""A session as it was asked for: on one engine, or with another for what needs a derivative."""

from pathlib import Path
from typing import Any

import pytest

from scumble.errors import EngineError, OptionError, UnsupportedError
from scumble.opening import open_session
from scumble.options import check_options
from scumble.requests import EngineRequest
from scumble.session import Session
from scumble.testing import FakeEngine, fake_checkpoint

SLOPED = """
from scumble.testing import FakeEngine

class Sloped(FakeEngine):
    name = "sloped"
    groups = FakeEngine.groups | {"loss"}
"""


@pytest.fixture
def folder(tmp_path: Path, install: Any, fake_engine: None) -> Path:
    """A model, and the engines `fake` without gradients and `sloped` with."""
    entries = {"scumble.engines": {"sloped": "sloped_engine:Sloped", "no-engine": "sys:path"}}
    install("sloped-engines", entries, {"sloped_engine": SLOPED})
    return fake_checkpoint(tmp_path / "model").folder


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The engines that were closed, by name."""
    names: list[str] = []
    monkeypatch.setattr(FakeEngine, "close", lambda engine: names.append(engine.name))
    return names


def opened(folder: Path, memory: int = 1 << 20, **given: Any) -> tuple[Session, str]:
    asked = check_options(EngineRequest, {"model": str(folder), "engine": "fake", **given}, "test")
    return open_session(asked, memory, None)


def test_one_engine(folder: Path):
    session, name = opened(folder, precision="fp64", threads=2)
    assert name == "fake"
    assert session.gradients is session
    settings = session.engine.settings
    assert (settings.precision, settings.threads, settings.mode) == ("fp64", 2, "eager")
    assert session.sources.keeps
    assert not opened(folder, memory=0)[0].sources.keeps


def test_another_for_gradients(folder: Path, closed: list[str]):
    session, name = opened(folder, gradient_engine="sloped", precision="fp64", threads=2)
    assert (name, session.engine.name, session.gradients.engine.name) == ("fake", "fake", "sloped")
    assert session.gradients.engine.settings == session.engine.settings
    assert session.gradients.checkpoint == session.checkpoint
    assert not session.gradients.sources.keeps, "recorded sources would be kept twice"
    assert session.gradients.rows is session.rows
    session.close()
    assert closed == ["fake", "sloped"]


def test_the_same_for_gradients(folder: Path):
    session, name = opened(folder, engine="sloped", gradient_engine="sloped")
    assert name == "sloped"
    assert session.gradients is session


@pytest.mark.parametrize("engine", ["fake", "sloped"])
def test_one_without_gradients_is_refused(folder: Path, closed: list[str], engine: str):
    message = "engine 'fake' has no gradients for this model; engines that could: .*sloped"
    with pytest.raises(UnsupportedError, match=message):
        opened(folder, engine=engine, gradient_engine="fake")
    assert closed == sorted({engine, "fake"}, key=[engine, "fake"].index)


@pytest.mark.parametrize(("name", "error"), [("no-engine", EngineError), ("steam", OptionError)])
def test_what_is_no_engine(folder: Path, closed: list[str], name: str, error: Any):
    with pytest.raises(error, match=f"'{name}'"):
        opened(folder, engine=name)
    assert closed == []
    with pytest.raises(error, match=f"'{name}'"):
        opened(folder, gradient_engine=name)
    assert closed == ["fake"], "the run's own engine was left open"
