"""`scumble plugins new`: what it writes works as it is, and nothing is written over."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scumble.cli.plugin_new import package
from scumble.errors import OptionError

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tool(*arguments: str | Path, folder: Path, **environment: str) -> str:
    """Run a module of this environment in a folder; give what it says, and fail if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_package_is_written(scumble: Any, here: Path):
    done = scumble("plugins", "new", "soft_light")
    assert (done.code, done.err) == (0, "")
    assert "pip install -e 'scumble-soft-light[test]'" in done.out
    assert "scumble plugins test soft_light" in done.out
    folder = here / "scumble-soft-light"
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {
        "README.md", "pyproject.toml", "src/scumble_soft_light/__init__.py",
        "src/scumble_soft_light/py.typed", "src/scumble_soft_light/soft_light.py",
        "tests/test_soft_light.py",
    }  # fmt: skip
    project = tomllib.loads((folder / "pyproject.toml").read_text())
    assert project["build-system"]["build-backend"] == "hatchling.build"
    assert project["project"]["name"] == "scumble-soft-light"
    assert project["project"]["entry-points"]["scumble.plugins"] == {
        "soft_light": "scumble_soft_light.soft_light:SoftLight"
    }
    assert "license" not in project["project"], "that is the author's choice"
    assert "LICENSE" in (folder / "README.md").read_text()
    assert not any("${" in p.read_text() for p in folder.rglob("*") if p.is_file())


def test_where_it_is_wanted(scumble: Any, here: Path):
    done = scumble("plugins", "new", "soft", "--out", here / "deep" / "folder", "--json")
    told = json.loads(done.out)
    assert told["folder"] == str(here / "deep" / "folder")
    assert "pyproject.toml" in told["files"]
    assert all((here / "deep/folder" / name).is_file() for name in told["files"])
    assert scumble("plugins", "new", "soft", "--quiet").out == ""


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Soft", "take small letters, digits and single _"),
        ("soft-light", "take small letters"),
        ("soft__light", "take small letters"),
        ("_soft", "take small letters"),
        ("2soft", "take small letters"),
        ("soft/light", "take small letters"),
        ("..", "take small letters"),
        ("a" * 31, "at most 30"),
        ("class", "means something else in Python"),
        ("plugin", "means something else in Python or in Scumble"),
        ("prompt_to_prompt", r"is installed, by scumble \d"),
    ],
)
def test_a_name_that_cannot_be_taken(scumble: Any, here: Path, name: str, why: str):
    with pytest.raises(OptionError, match=why):
        package(name)
    scumble("plugins", "new", name).refused()
    assert list(here.iterdir()) == []


def test_a_module_that_is_there(scumble: Any, here: Path):
    scumble("plugins", "new", "bench").refused("a package 'scumble_bench' is installed")


@pytest.mark.usefixtures("here")
def test_nothing_is_written_over(scumble: Any, here: Path):
    (here / "scumble-soft").mkdir()
    scumble("plugins", "new", "soft").refused("'scumble-soft' is there already")
    (here / "file").touch()
    scumble("plugins", "new", "soft", "--out", "file").refused("'file' is there already")
    scumble("plugins", "new", "soft", "--out", "file/x").refused("cannot be written")
    assert sorted(p.name for p in here.rglob("*")) == ["file", "scumble-soft"]


def test_a_disk_that_is_full_leaves_nothing(
    scumble: Any, here: Path, monkeypatch: pytest.MonkeyPatch
):
    written: list[Path] = []

    def fail(self: Path, *_: Any, **__: Any) -> int:
        written.append(self)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        self.touch()
        return 0

    monkeypatch.setattr(Path, "write_text", fail)
    scumble("plugins", "new", "soft").refused("cannot be written", "No space left")
    assert list(here.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["soft_light", "a", "abcdefghijklmnopqrstuvwxyz_123"])
def test_what_is_written_keeps_our_rules_and_its_tests_pass(scumble: Any, here: Path, name: str):
    """Ruff, formatting, pyright in strict mode, and its own tests."""
    assert scumble("plugins", "new", name, "--out", "made").code == 0
    made = here / "made"
    settings = tomllib.loads((made / "pyproject.toml").read_text())["tool"]
    for rule in ("select", "ignore", "pydocstyle", "flake8-tidy-imports"):
        assert settings["ruff"]["lint"][rule] == SETTINGS["ruff"]["lint"][rule]
    for rule in ("line-length", "target-version"):
        assert settings["ruff"][rule] == SETTINGS["ruff"][rule]
    tool("ruff", "check", "--no-cache", folder=made)
    tool("ruff", "format", "--check", "--no-cache", folder=made)
    assert "0 errors" in tool("pyright", "--pythonpath", sys.executable, folder=made)
    said = tool("pytest", "-q", "-p", "no:cacheprovider", folder=made, PYTHONPATH="src")
    assert "8 passed" in said
    shutil.rmtree(made)
