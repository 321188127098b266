"""The made set, written once, and entries that need no set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.made_set import write_set
from scumble_bench.evaluation.run_lengths import SIZE


@pytest.fixture(scope="session")
def made_set(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Layout -> folder of the set of 20 pictures."""
    return write_set(tmp_path_factory.mktemp("made") / "set")


@pytest.fixture
def entry() -> Callable[..., Entry]:
    """Makes an entry: a grey picture with a square in it."""

    def make(**fields: Any) -> Entry:
        picture = np.full((*SIZE, 3), 120, np.uint8)
        picture[100:300, 100:300] = (200, 30, 30)
        given: dict[str, Any] = {
            "id": "100000000001",
            "kind": "1",
            "source": "a red sofa",
            "target": "a blue sofa",
            "words": ("red", "blue"),
            "runs": (0, 512 * 256),
            "read": lambda: picture,
        }
        return Entry(**(given | fields))

    return make
