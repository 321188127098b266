import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scumble.built.folder import (
    BUILT,
    cache_budget,
    cache_folder,
    check_trusted,
    open_folder,
)
from scumble.errors import OptionError


@pytest.mark.parametrize(
    ("system", "environment", "end"),
    [
        ("linux", {"SCUMBLE_CACHE_DIR": "/given"}, "/given"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/scumble"),
        ("linux", {}, ".cache/scumble"),
        ("darwin", {}, "Library/Caches/scumble"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/scumble"),
        ("win32", {}, "AppData/Local/scumble"),
    ],
)
def test_where_it_is(
    monkeypatch: pytest.MonkeyPatch, system: str, environment: dict[str, str], end: str
):
    for name in ("SCUMBLE_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    assert cache_folder().as_posix().endswith(end)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch):
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SCUMBLE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    with pytest.raises(OptionError, match="set SCUMBLE_CACHE_DIR"):
        cache_folder()


@pytest.mark.parametrize(
    ("given", "size"), [("", 20_000_000_000), ("1.5", 1_500_000_000), ("0", 0)]
)
def test_how_much_is_kept(monkeypatch: pytest.MonkeyPatch, given: str, size: int):
    monkeypatch.setenv("SCUMBLE_CACHE_GB", given)
    assert cache_budget() == size


@pytest.mark.parametrize("given", ["many", "-1", "nan", "inf"])
def test_what_is_no_size(monkeypatch: pytest.MonkeyPatch, given: str):
    monkeypatch.setenv("SCUMBLE_CACHE_GB", given)
    with pytest.raises(OptionError, match="give the gigabytes to keep"):
        cache_budget()


def test_it_is_made_for_this_user_alone(folder: Path):
    before = os.umask(0o002)
    try:
        place = open_folder(folder, make=True)
    finally:
        os.umask(before)
    assert place == folder / BUILT
    for made in (folder, folder / BUILT):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert open_folder(folder, make=True) == place


def test_looking_makes_nothing(folder: Path):
    assert open_folder(folder, make=False) is None
    assert not folder.exists()
    folder.mkdir(mode=0o700)
    assert open_folder(folder, make=False) is None
    assert os.listdir(folder) == []


def test_a_link_to_ones_own_folder_will_do(folder: Path, tmp_path: Path):
    (tmp_path / "large-disk").mkdir(mode=0o755)
    folder.symlink_to("large-disk")
    assert open_folder(folder, make=True) == folder / BUILT


def opened_up(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)


def opened_up_for_all(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o707)


def opened_up_inside(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    opened_up(folder / BUILT)


def linked_inside(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / BUILT).symlink_to(folder.parent)


def a_file(folder: Path) -> None:
    folder.touch()


def a_link_to_nothing(folder: Path) -> None:
    folder.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (opened_up, "others may write to"),
        (opened_up_for_all, "others may write to"),
        (opened_up_inside, "others may write to"),
        (linked_inside, "is a link"),
        (a_file, "is no folder|cannot be made"),
        (a_link_to_nothing, "cannot be used|cannot be made"),
    ],
)
@pytest.mark.parametrize("make", [True, False])
def test_what_is_refused(folder: Path, made: Callable[[Path], None], why: str, make: bool):
    made(folder)
    with pytest.raises(OptionError, match=why) as caught:
        open_folder(folder, make)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(("looks", "which"), [(0, "cache"), (1, "built")])
def test_another_user_s(folder: Path, monkeypatch: pytest.MonkeyPatch, looks: int, which: str):
    own = os.geteuid()
    seen = [own] * looks
    monkeypatch.setattr(os, "geteuid", lambda: seen.pop() if seen else own + 1)
    with pytest.raises(OptionError, match=f"{which}' belongs to another user"):
        open_folder(folder, make=True)


def test_where_the_mode_says_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch):
    opened_up(folder)
    monkeypatch.setattr(sys, "platform", "win32")
    check_trusted(folder)
