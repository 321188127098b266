"""Importing the engine sends nothing and writes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
marker = sys.modules["openvino_telemetry"] = object() if sys.argv[1] == "kept" else None
if marker is None:
    del sys.modules["openvino_telemetry"]
from scumble_engines.openvino.runtime import runtime
runtime.Core()
assert sys.modules.get("openvino_telemetry") is marker
from openvino.tools.ovc import telemetry_utils
assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
"""


@pytest.mark.thorough
@pytest.mark.parametrize("before", ["kept", "absent"])
def test_importing_reports_nothing(tmp_path: Path, before: str):
    # It does not report where these are set, which would make this test pass for nothing.
    surroundings = {n: v for n, v in os.environ.items() if n not in ("CI", "TF_BUILD")}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, before],
        env={**surroundings, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
