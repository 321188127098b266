"""The fixtures, as a plugin's author takes them in."""

import subprocess
import sys
from pathlib import Path

CONFTEST = 'pytest_plugins = ["scumble.testing.fixtures"]\n'
TESTS = """
import numpy as np
import pytest
from scumble import Options, Plugin, hookimpl
from scumble.errors import EngineError
from scumble.ports import neutral

class Dims(Plugin):
    @hookimpl
    def scumble_after_step(self, step):
        return {1: step.latents[1] * 0.9}

left = []

def test_an_editor(fake_editor):
    picture = np.zeros((64, 64, 3), np.uint8)
    words = {"source": "a red cat", "target": "a blue cat", "steps": 2}
    dimmed = fake_editor.edit(picture, method=Dims(), **words)
    plain = fake_editor.edit(picture, method="prompt_to_prompt", **words)
    assert dimmed.latents[1].dtype == np.float64
    assert not np.array_equal(dimmed.latents[1], plain.latents[1])
    assert dimmed.provenance["engine"] == "fake"

def test_an_engine(fake_engine):
    info = fake_engine.info
    sizes = info.sizes((8, 8))
    ports = {
        "sample": np.ones((1, 4, 8, 8)),
        "timestep": np.array([500]),
        "text": np.ones((1, info.tokens, info.features)),
    }
    plain = fake_engine.step(ports).noise
    routed = fake_engine.step({**ports, **neutral("route", sizes, 1)}).noise
    np.testing.assert_array_equal(plain, routed)
    left.append((fake_engine, ports))

def test_that_it_was_closed():
    engine, ports = left[0]
    with pytest.raises(EngineError):
        engine.step(ports)
"""


def test_one_line_takes_them_in(tmp_path: Path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_mine.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout
