"""Fixtures for a plugin's tests; a `conftest.py` takes them in with one line.

`pytest_plugins = ["scumble.testing.fixtures"]`
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.requests import EngineRequest
from scumble.testing.fake_engine import FakeEngine
from scumble.testing.fake_model import fake_checkpoint, fake_session

__all__ = ["fake_editor", "fake_engine"]


@pytest.fixture
def fake_engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """The engine in numpy, in float64, with its model loaded: for steps of one's own."""
    with FakeEngine(EngineSettings("fp64")) as engine:
        engine.load(fake_checkpoint(tmp_path / "fake model"))
        yield engine


@pytest.fixture
def fake_editor(tmp_path: Path) -> Iterator[Editor]:
    """An editor on that engine: `fake_editor.edit(picture, ..., method=MyPlugin())`.

    Words that it does not know are spelled, a token a letter; a prompt has 16 tokens.
    """
    folder = tmp_path / "fake model"
    asked = EngineRequest(model=str(folder), engine=FakeEngine.name, precision="fp64")
    with Editor(fake_session(folder), asked) as editor:
        yield editor
