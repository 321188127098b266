import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuildKey, BuiltCache, shelf
from scumble.built.entry import SUFFIX
from scumble.built.shelf import QUARANTINE, Stored, Usage, drop, entry_of, make_room, quarantine


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / QUARANTINE).mkdir()
    return tmp_path


def put(place: Path, name: str, size: int, age: float) -> Path:
    """A file of that many bytes, last used so many seconds ago."""
    path = place / name
    path.write_bytes(bytes(size))
    used = time.time() - age
    os.utime(path, (used, used))
    return path


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir() if path.is_file()}


def test_the_longest_unused_goes_first(place: Path):
    for name, age in (("a.built", 30), ("b.built", 10), ("c.built", 20)):
        put(place, name, 100, age)
    make_room(place, place / "new.built", 100, 400)
    assert names(place) == {"a.built", "b.built", "c.built"}
    make_room(place, place / "new.built", 101, 400)
    assert names(place) == {"b.built", "c.built"}
    make_room(place, place / "new.built", 300, 400)
    assert names(place) == {"b.built"}
    make_room(place, place / "new.built", 400, 400)
    assert names(place) == set()


def test_what_is_replaced_does_not_count(place: Path):
    put(place, "a.built", 100, 10)
    put(place, "old.built", 300, 20)
    make_room(place, place / "old.built", 300, 400)
    assert names(place) == {"a.built", "old.built"}


def test_quarantine_goes_before_entries(place: Path):
    put(place, "a.built", 100, 1000)
    put(place / QUARANTINE, "1-x-b.built", 100, 10)
    put(place / QUARANTINE, "2-x-b.built", 100, 20)
    make_room(place, place / "new.built", 200, 400)
    assert names(place / QUARANTINE) == {"2-x-b.built"}
    make_room(place, place / "new.built", 300, 400)
    assert (names(place / QUARANTINE), names(place)) == (set(), {"a.built"})


def test_quarantine_is_bounded(place: Path):
    for _ in range(7):
        quarantine(place, put(place, "a.built", 10, 0))
        make_room(place, place / "new.built", 10, 1000)
    assert len(names(place / QUARANTINE)) == shelf.MOST
    last = put(place, "z.built", 10, 5000)
    quarantine(place, last)
    make_room(place, place / "new.built", 10, 1000)
    assert any(name.endswith("z.built") for name in names(place / QUARANTINE))


def test_what_another_process_moved(place: Path):
    quarantine(place, place / "gone.built")
    assert names(place / QUARANTINE) == set()


def test_what_was_abandoned(place: Path):
    put(place, "old.part", 10, 601)
    put(place, "new.part", 10, 590)
    put(place, "old.lock", 0, 86401)
    put(place, "new.lock", 0, 86000)
    put(place, "foreign.txt", 10, 1e6)
    make_room(place, place / "new.built", 10, 1000)
    assert names(place) == {"new.part", "new.lock", "foreign.txt"}


def test_one_that_stays_does_not_keep_the_others(place: Path, monkeypatch: pytest.MonkeyPatch):
    for name, age in (("a.built", 30), ("b.built", 20), ("c.built", 10)):
        put(place, name, 100, age)
    real = os.unlink

    def stubborn(path: Path, **named: Any) -> None:
        if path.name in ("a.built", "b.built"):
            raise OSError(errno.EIO, path.name)
        real(path, **named)

    monkeypatch.setattr(os, "unlink", stubborn)
    with pytest.raises(OSError, match=r"a\.built"):
        make_room(place, place / "new.built", 400, 400)
    assert names(place) == {"a.built", "b.built"}


def test_what_goes_while_it_is_listed(place: Path, monkeypatch: pytest.MonkeyPatch):
    put(place, "a.built", 100, 30)
    put(place, "b.built", 100, 20)
    real = os.scandir

    class Listing:
        def __init__(self, folder: Path) -> None:
            self.listed = real(folder)

        def __enter__(self) -> Any:
            found = list(self.listed)
            (place / "a.built").unlink()
            return iter(found)

        def __exit__(self, *_: object) -> None:
            self.listed.close()

    monkeypatch.setattr(os, "scandir", Listing)
    assert [one.path.name for one in Stored.among(place, SUFFIX)] == ["b.built"]


def test_drop(place: Path):
    put(place, "a.built", 1, 0)
    put(place / QUARANTINE, "b.built", 1, 0)
    (place / "link").symlink_to(place / QUARANTINE)
    for path in (place / "link", place / "a.built", place / "a.built"):
        drop(path)
    assert names(place / QUARANTINE) == {"b.built"}
    drop(place / QUARANTINE)
    assert os.listdir(place) == []


def test_usage(place: Path):
    put(place, "a.built", 100, 0)
    put(place, "x.part", 1000, 0)
    put(place / QUARANTINE, "b.built", 10, 0)
    assert Usage.of(place) == Usage(entries=1, quarantined=1, bytes=110)
    assert Usage.of(place / "missing") == Usage(0, 0, 0)


def test_what_an_entry_says(cache: BuiltCache, key: BuildKey, folder: Path):
    cache.get_or_build(key, lambda: bytes(100))
    (stored,) = Stored.among(folder / "built", SUFFIX)
    entry = entry_of(stored)
    assert entry.digest == key.digest
    assert entry.key == key.as_json()
    assert entry.size == stored.path.stat().st_size > 100
    assert entry.created is not None
    assert entry.used >= entry.created
    stored.path.write_bytes(b"x")
    assert (entry_of(stored).key, entry_of(stored).created) == (None, None)
