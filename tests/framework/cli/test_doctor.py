import json
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import doctor as command
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
def test_what_the_cache_holds(scumble: Any, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SCUMBLE_CACHE_GB", "0.5")
    report = json.loads(scumble("doctor", "--json").out)
    empty = {"folder": str(cache), "budget_bytes": 500_000_000}
    assert report["cache"] == {**empty, "entries": 0, "quarantined": 0, "bytes": 0}
    assert not cache.exists()
    (cache / "built/quarantine").mkdir(parents=True)
    for made in (cache, cache / "built"):
        made.chmod(0o700)
    for name in ("a.built", "b.built", "quarantine/1-c.built"):
        (cache / "built" / name).write_bytes(bytes(1_000_000))
    report = json.loads(scumble("doctor", "--json").out)
    assert report["cache"] == {**empty, "entries": 2, "quarantined": 1, "bytes": 3_000_000}
    assert report["problems"] == []
    said = f"cache    {cache}, 2 built engines and 1 quarantined, 3 of 500 MB\n"
    assert said in scumble("doctor").out


@pytest.mark.usefixtures("entries")
def test_a_cache_that_others_may_write_to(scumble: Any, cache: Path):
    cache.mkdir()
    cache.chmod(0o770)
    done = scumble("doctor")
    assert done.code == 1
    assert "others may write" in done.out
    assert f"cache    {cache}\n" in done.out
    cache.rmdir()
    cache.touch()
    assert "is no folder" in scumble("doctor").out


@pytest.mark.usefixtures("entries")
def test_a_cache_that_cannot_be_written(scumble: Any, cache: Path, monkeypatch: pytest.MonkeyPatch):
    cache.mkdir(mode=0o700)
    monkeypatch.setattr(command.os, "access", lambda *_: False)
    assert "cannot be written" in scumble("doctor").out


@pytest.mark.usefixtures("entries")
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("SCUMBLE_CACHE_GB", "much", "give the gigabytes"), ("SCUMBLE_CACHE_DIR", "", "no home")],
)
def test_a_cache_that_is_set_wrong(
    scumble: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
):
    def home() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv(name, value)
    done = scumble("doctor", "--json")
    assert done.code == 1
    (problem,) = json.loads(done.out)["problems"]
    assert problem.startswith("cache: ")
    assert why in problem


@pytest.mark.thorough
def test_for_real(scumble: Any, distribution: Any):
    """Everything that is installed, torch too, loaded in a child."""
    distribution("scumble-broken", {}, {"scumble.plugins": {"broken": "nowhere_at_all:Plugin"}})
    report = json.loads(scumble("doctor", "--json").out)
    found = {(entry["kind"], entry["name"]): entry for entry in report["entries"]}
    assert found["engine", "torch"]["problem"] is None
    assert found["engine", "torch"]["runs_on"]["torch"]
    assert "nowhere_at_all" in found["plugin", "broken"]["problem"]
