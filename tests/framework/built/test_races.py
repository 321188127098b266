"""Sixteen processes that want the same at the same time, fifty times."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def race(folder: Path, locks: str) -> dict[str, Any]:
    """What races.py prints."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("races.py")), str(folder), locks],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("locks", ["locks", "no-locks"])
def test_everybody_gets_the_right_bytes(tmp_path: Path, locks: str):
    report = race(tmp_path / "cache", locks)
    assert report["answers"] == 16 * 50
    assert report["torn"] == 0
    assert report["quarantined"] == 0
    assert report["uncached"] == 0
    assert report["notes"] == []
    assert report["left"] == [".built"]
    assert len(report["builds"]) == 40
    assert min(report["builds"]) >= 1
    if locks == "locks":
        assert max(report["builds"]) == 1
    else:
        assert max(report["builds"]) > 1  # else this was no race
