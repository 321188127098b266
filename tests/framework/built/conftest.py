"""A key, a cache in a folder of its own, and a disk that fails where it is told to."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from scumble.built import BuildKey, BuiltCache

STEPS = run_path(str(Path(__file__).with_name("steps.py")))


@pytest.fixture(scope="session")
def make_key() -> Callable[..., BuildKey]:
    """Makes a key; fields given by name differ from the usual one."""
    return STEPS["key"]


@pytest.fixture
def key(make_key: Callable[..., BuildKey]) -> BuildKey:
    """The usual key."""
    return make_key()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the cache is going to be."""
    return tmp_path / "cache"


@pytest.fixture
def cache(folder: Path) -> BuiltCache:
    """An empty cache with room for a megabyte."""
    return BuiltCache(folder, 1_000_000)


@pytest.fixture(scope="session")
def steps() -> Any:
    """The class `Steps` of steps.py."""
    return STEPS["Steps"]
