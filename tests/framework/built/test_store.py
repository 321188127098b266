import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuildKey, Built, BuiltCache, Usage, entry
from scumble.built.lock import locked
from scumble.built.shelf import QUARANTINE
from scumble.errors import OptionError

MakeKey = Callable[..., BuildKey]


def nothing(*_: object) -> Any:
    raise AssertionError("it was built")


def path_of(cache: BuiltCache, key: BuildKey) -> Path:
    return cache.folder / "built" / f"{key.digest}{entry.SUFFIX}"


def quarantined(cache: BuiltCache) -> list[str]:
    folder = cache.folder / "built" / QUARANTINE
    return os.listdir(folder) if folder.exists() else []


def one_sentence(note: str) -> bool:
    return note.endswith(".") and ". " not in note and "\n" not in note


def test_it_is_built_once(cache: BuiltCache, key: BuildKey):
    assert cache.get(key) is None
    assert not cache.folder.exists()
    said: list[str] = []
    first = cache.get_or_build(key, lambda: b"plan", said.append)
    assert first == Built(b"plan", built=True, cached=True)
    assert said == ["building", "caching"]
    assert cache.get_or_build(key, nothing, nothing) == Built(b"plan", built=False, cached=True)
    assert cache.get(key) == b"plan"
    assert os.listdir(cache.folder / "built") == [f"{key.digest}.built"]


def test_where_it_is_by_default(monkeypatch: pytest.MonkeyPatch, folder: Path, key: BuildKey):
    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(folder))
    monkeypatch.setenv("SCUMBLE_CACHE_GB", "0.001")
    cache = BuiltCache()
    assert (cache.folder, cache.budget_bytes) == (folder, 1_000_000)
    assert cache.get_or_build(key, lambda: b"plan").cached
    assert BuiltCache(folder).get(key) == b"plan"


def test_a_build_that_fails(cache: BuiltCache, key: BuildKey):
    def fail() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.get_or_build(key, fail)
    assert os.listdir(cache.folder / "built") == []
    assert cache.get_or_build(key, lambda: b"plan").cached


def test_what_came_while_it_waited(cache: BuiltCache, key: BuildKey):
    """Another process builds the same: this one takes its result."""
    said: list[str] = []
    lock = cache.folder / "built" / f"{key.digest}.lock"
    cache.get_or_build(key, lambda: b"first")
    cache.remove(key)

    def told(stage: str) -> None:
        said.append(stage)
        other.__exit__(None, None, None)

    other = locked(lock, nothing)
    other.__enter__()
    entry.write(path_of(cache, key), entry.encode(key, b"other's"))
    real = entry.read
    looks: list[bool] = []

    def not_yet(path: Path, wanted: BuildKey) -> bytes:
        looks.append(True)
        if len(looks) == 1:
            raise FileNotFoundError
        return real(path, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "read", not_yet)
        done = cache.get_or_build(key, nothing, told)
    assert done == Built(b"other's", built=False, cached=True)
    assert said == ["waiting for another process to build it"]


def test_an_entry_that_goes_while_it_is_read(
    cache: BuiltCache, key: BuildKey, monkeypatch: pytest.MonkeyPatch
):
    """Another process made room; what was read is as good as before."""
    cache.get_or_build(key, lambda: b"plan")
    real = entry.read

    def read(path: Path, wanted: BuildKey) -> bytes:
        data = real(path, wanted)
        path.unlink()
        return data

    monkeypatch.setattr(entry, "read", read)
    assert cache.get_or_build(key, nothing) == Built(b"plan", built=False, cached=True)


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def linked(path: Path) -> None:
    moved = path.with_name("elsewhere")
    path.rename(moved)
    path.symlink_to(moved)


def opened_up(path: Path) -> None:
    path.chmod(0o666)


def replaced_by_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [damaged, linked, opened_up, replaced_by_a_folder])
@pytest.mark.parametrize("ask", ["get", "get_or_build"])
def test_what_is_off_goes_to_quarantine(
    cache: BuiltCache, key: BuildKey, spoil: Callable[[Path], None], ask: str
):
    cache.get_or_build(key, lambda: b"old")
    spoil(path_of(cache, key))
    notes: list[str] = []
    if ask == "get":
        assert cache.get(key, notes) is None
        assert not os.path.lexists(path_of(cache, key))
    done = cache.get_or_build(key, lambda: b"new")
    notes += done.notes
    assert (done.data, done.built, done.cached) == (b"new", True, True)
    (note,) = notes
    assert one_sentence(note)
    assert key.digest in note
    assert "was moved to" in note
    assert len(quarantined(cache)) == 1
    assert cache.get_or_build(key, nothing).data == b"new"


def test_an_entry_under_another_name(cache: BuiltCache, make_key: MakeKey):
    one, other = make_key(), make_key(target="sm120")
    cache.get_or_build(one, lambda: b"one")
    path_of(cache, one).rename(path_of(cache, other))
    done = cache.get_or_build(other, lambda: b"other")
    assert (done.data, done.cached) == (b"other", True)
    assert "another key" in done.notes[0]


def test_what_the_runtime_refuses(cache: BuiltCache, key: BuildKey):
    cache.get_or_build(key, lambda: b"old")
    note = cache.reject(key, "was refused by the runtime")
    assert one_sentence(note)
    assert "was refused by the runtime" in note
    assert len(quarantined(cache)) == 1
    assert cache.get(key) is None


def test_it_stays_within_its_budget(folder: Path, make_key: MakeKey):
    cache = BuiltCache(folder, 10_000)
    keys = [make_key(variant=str(number)) for number in range(6)]
    for number, one in enumerate(keys[:4]):
        assert cache.get_or_build(one, lambda: bytes(1000)).cached
        # Clocks of file systems are coarse.
        os.utime(path_of(cache, one), (number, number))
    assert cache.get(keys[0]) is not None  # used just now
    assert cache.get_or_build(keys[4], lambda: bytes(5500)).cached
    assert cache.usage().bytes <= 10_000
    left = [number for number, one in enumerate(keys) if path_of(cache, one).exists()]
    assert left == [0, 3, 4]
    whole = cache.get_or_build(keys[5], lambda: bytes(9999))
    assert (len(whole.data), whole.cached) == (9999, False)
    assert "SCUMBLE_CACHE_GB" in whole.notes[0]
    assert one_sentence(whole.notes[0])
    assert cache.get(keys[4]) is not None  # nothing went for the sake of what does not fit


def test_a_budget_of_none(folder: Path, key: BuildKey):
    done = BuiltCache(folder, 0).get_or_build(key, lambda: b"plan")
    assert (done.data, done.cached, len(done.notes)) == (b"plan", False, 1)


def test_entries_and_what_becomes_of_them(cache: BuiltCache, make_key: MakeKey):
    assert cache.entries() == ()
    assert cache.usage() == cache.clear() == Usage(0, 0, 0)
    one, other = make_key(), make_key(target="sm120")
    assert not cache.remove(one)
    for number, key in enumerate((one, other)):
        cache.get_or_build(key, lambda: b"plan")
        os.utime(path_of(cache, key), (number, number))
    assert [entry.digest for entry in cache.entries()] == [other.digest, one.digest]
    assert cache.remove(one)
    assert not cache.remove(one.digest)
    assert [entry.key for entry in cache.entries()] == [other.as_json()]
    path_of(cache, other).write_bytes(b"x")
    assert cache.entries()[0].key is None
    assert cache.get(other) is None
    cache.get_or_build(one, lambda: b"plan")
    (cache.folder / "built" / "x.part").touch()
    (cache.folder / "built" / "foreign").touch()
    cleared = cache.clear()
    assert (cleared.entries, cleared.quarantined) == (1, 1)
    assert os.listdir(cache.folder / "built") == ["foreign"]


@pytest.mark.parametrize("digest", ["../x", "a" * 63, "", "A" * 64])
def test_what_is_no_digest(cache: BuiltCache, digest: str):
    with pytest.raises(OptionError, match="no digest"):
        cache.remove(digest)


def test_a_folder_that_others_may_write_to(cache: BuiltCache, key: BuildKey):
    cache.get_or_build(key, lambda: b"old")
    cache.folder.chmod(0o777)
    notes: list[str] = []
    assert cache.get(key, notes) is None
    done = cache.get_or_build(key, lambda: b"new")
    assert (done.data, done.built, done.cached) == (b"new", True, False)
    assert [*done.notes] == notes == [cache.reject(key, "is off")]
    assert one_sentence(notes[0])
    assert "chmod 700" in notes[0]
    for call in (cache.entries, cache.usage, cache.clear, lambda: cache.remove(key)):
        with pytest.raises(OptionError, match="others may write"):
            call()
    cache.folder.chmod(0o700)
    assert cache.get(key) == b"old"


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, key: BuildKey):
    def home() -> Path:
        raise RuntimeError

    for name in ("SCUMBLE_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    done = BuiltCache().get_or_build(key, lambda: b"plan")
    assert (done.data, done.cached) == (b"plan", False)
    assert one_sentence(done.notes[0])


@pytest.mark.parametrize("name", ["scandir", "unlink"])
def test_a_disk_that_cannot_be_read(
    cache: BuiltCache, key: BuildKey, monkeypatch: pytest.MonkeyPatch, name: str
):
    cache.get_or_build(key, lambda: b"plan")

    def fail(path: Path) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr(os, name, fail)
    calls: dict[str, list[Callable[[], object]]] = {
        "scandir": [cache.entries, cache.usage, cache.clear],
        "unlink": [cache.clear, lambda: cache.remove(key)],
    }
    for call in calls[name]:
        with pytest.raises(OptionError, match=os.strerror(errno.EIO)):
            call()


def test_an_entry_that_cannot_be_read(
    cache: BuiltCache, key: BuildKey, monkeypatch: pytest.MonkeyPatch
):
    """The disk's fault, and perhaps not for long: it is built anew, and replaced."""
    cache.get_or_build(key, lambda: b"old")

    def fail(path: Path, wanted: BuildKey) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(entry, "read", fail)
        done = cache.get_or_build(key, lambda: b"new")
    assert (done.data, done.built, done.cached, len(done.notes)) == (b"new", True, True, 1)
    assert "cannot be read" in done.notes[0]
    assert cache.get(key) == b"new"


@pytest.mark.parametrize("age", [0, 3600])
def test_what_a_killed_process_left(cache: BuiltCache, key: BuildKey, age: int):
    cache.get_or_build(key, lambda: b"plan")
    cache.remove(key)
    for name in ("a.part", f"{key.digest}.lock"):
        (cache.folder / "built" / name).touch()
        used = time.time() - age
        os.utime(cache.folder / "built" / name, (used, used))
    assert cache.get_or_build(key, lambda: b"plan").notes == ()
    left = {"a.part"} if age == 0 else set()
    assert set(os.listdir(cache.folder / "built")) == {f"{key.digest}.built", *left}
