"""The child that makes one plugin's checks: a line for each, and nothing else on stdout."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scumble.cli.plugin_trial import tried
from scumble.testing import CHECKS

Install = Callable[..., Path]
NOISY = """
import os
from scumble import Plan, Plugin, hookimpl

print("noise")

class Edit(Plugin):
    @hookimpl
    def scumble_after_step(self, step):
        print("more noise")
        os.write(1, b"from C")
        return {1: step.latents[1] * 0.9}
"""


def test_a_line_a_check(install: Install):
    site = install("noisy", {"scumble.plugins": {"noisy": "noisy_trial:Edit"}},
                   {"noisy_trial": NOISY})  # fmt: skip
    asked = {"path": [str(site), *sys.path], "plugin": "noisy", "engines": []}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scumble.cli.plugin_trial"],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["check"] for line in found] == ["loads", *CHECKS]
    assert {line["outcome"] for line in found} <= {"passed", "not applicable"}


def test_one_that_does_not_load_is_one_line(install: Install):
    install("odd-package", {"scumble.plugins": {"odd": "odd_trial:Edit"}}, {"odd_trial": "1 / 0"})
    (found,) = tried("odd", [])
    assert (found.check, found.outcome) == ("loads", "failed")
    assert "'odd' of odd-package 1.0 cannot be imported: ZeroDivisionError" in found.said
