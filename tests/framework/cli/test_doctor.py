import json
import sys
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import doctor as command
from scumble.cli.doctor import cache_folder
from scumble.cli.entries import Entry


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """What is found, in place of loading torch in a child."""
    found = [
        Entry("model", "rooms", "scumble 1", None, {"folder": "/x"}),
        Entry("engine", "torch", "scumble 1"),
    ]
    monkeypatch.setattr(command, "look_at", lambda *_, **__: found)
    return found


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("entries")
def test_all_is_well(scumble: Any, cache: Path):
    cache.mkdir(mode=0o700)
    done = scumble("doctor")
    assert (done.code, done.err) == (0, "")
    assert "all is well." in done.out
    assert str(cache) in done.out
    report = json.loads(scumble("doctor", "--json").out)
    assert report["problems"] == []
    assert report["versions"]["python"].startswith("3.")
    assert report["versions"]["numpy"]
    assert report["threads"]["usable"] >= 1
    assert scumble("doctor", "--quiet").out == ""


def test_problems_are_counted(scumble: Any, entries: list[Entry], distribution: Any):
    entries[0] = Entry("plugin", "bad", "scumble-bad 1", "it is broken.")
    distribution("scumble-rival", {}, {"scumble.commands": {"edit": "nowhere:run"}})
    done = scumble("doctor", "--json")
    assert done.code == 1
    problems = json.loads(done.out)["problems"]
    assert problems == [
        "plugin bad: it is broken.",
        "command edit: offered by scumble-rival 1.0 and built in; the built-in one runs.",
        "model rooms: no installed package brings the demo checkpoint.",
    ]
    done = scumble("doctor")
    assert done.code == 1
    assert "3 problems." in done.out
    assert done.out.count("broken: ") == 3


@pytest.mark.usefixtures("entries")
def test_an_engine_that_is_not_installed_is_no_problem(
    scumble: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "missing", lambda _: ["torch"])
    done = scumble("doctor")
    assert done.code == 0
    assert "not installed, needs torch" in done.out


@pytest.mark.usefixtures("entries")
def test_a_cache_that_others_may_write_to(scumble: Any, cache: Path):
    cache.mkdir()
    cache.chmod(0o770)
    assert "others may write" in scumble("doctor").out
    cache.rmdir()
    cache.touch()
    assert "is no folder" in scumble("doctor").out


@pytest.mark.usefixtures("entries")
def test_a_cache_that_cannot_be_written(scumble: Any, cache: Path, monkeypatch: pytest.MonkeyPatch):
    cache.mkdir(mode=0o700)
    monkeypatch.setattr(command.os, "access", lambda *_: False)
    assert "cannot be written" in scumble("doctor").out


@pytest.mark.parametrize(
    ("system", "environment", "end"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/scumble"),
        ("linux", {}, ".cache/scumble"),
        ("darwin", {}, "Library/Caches/scumble"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/scumble"),
    ],
)
def test_cache_folders(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], end: str
):
    for name in ("SCUMBLE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert cache_folder().as_posix().endswith(end)


@pytest.mark.thorough
def test_for_real(scumble: Any, distribution: Any):
    """Everything that is installed, torch too, loaded in a child."""
    distribution("scumble-broken", {}, {"scumble.plugins": {"broken": "nowhere_at_all:Plugin"}})
    report = json.loads(scumble("doctor", "--json").out)
    found = {(entry["kind"], entry["name"]): entry for entry in report["entries"]}
    assert found["engine", "torch"]["problem"] is None
    assert found["engine", "torch"]["runs_on"]["torch"]
    assert "nowhere_at_all" in found["plugin", "broken"]["problem"]
