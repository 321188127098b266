"""`kill -9` while an engine is built and put into the cache."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_killed_build_leaves_nothing_that_is_wrong(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kills.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [kind["faults"] for kind in report.values()] == [[], [], []]
    for kind in ("fresh", "busy"):
        assert report[kind]["killed"] == report[kind]["moments"]
    assert report["fresh"]["moments"] + report["busy"]["moments"] >= 200
    # The others had ended by then.
    assert report["random"]["killed"] >= report["random"]["moments"] // 4
