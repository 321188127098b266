import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import engines as command
from scumble.cli.engines import devices, missing
from scumble.plugins import list_entries

FAKE = {"fake": "scumble.testing:FakeEngine", "far-off": "nowhere_engine:Engine"}


@pytest.fixture(autouse=True)
def _engines(distribution: Any) -> None:
    needs = (
        'not-on-any-index (>=2) ; extra == "far_off"',
        'numpy>=1 ; python_version > "3" and extra == "far_off"',
        'also-not-on-any-index ; extra == "other"',
        "numpy",
    )
    distribution("scumble-engines-x", {}, {"scumble.engines": FAKE}, needs)


@pytest.fixture
def only_x(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the torch engine were not there: loading it takes seconds."""
    found = {n: e for n, e in list_entries("scumble.engines").items() if n in FAKE}
    monkeypatch.setattr(command, "list_entries", lambda _: found)
    monkeypatch.setattr("scumble.cli.entries.list_entries", lambda _: found)


def test_listed_without_importing(scumble: Any):
    done = scumble("engines")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines() if line}
    assert "no: pip install 'scumble-engines-x[far-off]'" in lines["far-off"]
    assert " yes " in lines["torch"]
    assert lines["devices:"].startswith("devices: cpu (")


@pytest.mark.usefixtures("only_x")
def test_checked(scumble: Any):
    found = json.loads(scumble("engines", "--check", "--json").out)
    fake, far = found["engines"]
    assert fake["installed"] is True
    assert fake["problem"] is None
    assert {"route", "mix", "read"} <= set(fake["ports"])
    assert far["installed"] is False
    assert far["missing"] == ["not-on-any-index"]
    assert far["install"] == "pip install 'scumble-engines-x[far-off]'"
    text = scumble("engines", "--check").out
    assert "route" in text
    assert scumble("engines", "--quiet").out == ""


@pytest.mark.usefixtures("only_x")
def test_an_installed_one_that_is_broken(scumble: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "missing", lambda _: [])
    assert "broken: engine 'far-off' of scumble-engines-x" in scumble("engines", "--check").out


def test_missing_needs_a_distribution(monkeypatch: pytest.MonkeyPatch):
    (listed,) = list_entries("scumble.engines")["torch"]
    assert missing(listed) == []

    def gone(_: str) -> Any:
        raise command.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(command.importlib.metadata, "requires", gone)
    assert missing(listed) == []


@pytest.mark.parametrize(("script", "count"), [("echo 'H100, 80 GiB'", 2), ("exit 9", 1)])
def test_devices(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, count: int):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = devices()
    assert len(found) == count
    assert found[1:] in ([], ["cuda:0 (H100, 80 GiB)"])


def test_devices_of_a_driver_that_hangs(monkeypatch: pytest.MonkeyPatch):
    def hang(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("nvidia-smi", 10)

    monkeypatch.setattr(command.shutil, "which", lambda _: "/bin/nvidia-smi")
    monkeypatch.setattr(command.subprocess, "run", hang)
    assert len(devices()) == 1
