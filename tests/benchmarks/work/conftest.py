"""Jobs of a worker that needs no model."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scumble_bench.work.pieces import Job, Piece

MakeJob = Callable[..., Job]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeJob]:
    """Make jobs: one piece for each payload, keys p0, p1, ..., and a log beside the folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def make(*payloads: dict[str, Any], **settings: Any) -> Job:
        pieces = [
            Piece(f"p{n}", {"n": n, **payload}, payload.get("group"))
            for n, payload in enumerate(payloads)
        ]
        given = {"log": str(tmp_path / "log"), **settings}
        return Job(pieces, "toy_worker:Toy", tmp_path / "job", given)

    yield make
    sys.modules.pop("toy_worker", None)


@pytest.fixture
def begun(tmp_path: Path) -> Callable[[], list[str]]:
    """Return what the toy noted so far, in order."""
    return lambda: (tmp_path / "log").read_text().split()
