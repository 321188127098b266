"""A disk that is full, read-only or broken, at every step that the cache takes on it."""

import ast
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble import built
from scumble.built import BuildKey, Built, BuiltCache, entry

MakeKey = Callable[..., BuildKey]
PLAN = bytes(range(250)) * 1600


def fresh(cache: BuiltCache, make_key: MakeKey) -> None:
    """There is no folder yet."""


def busy(cache: BuiltCache, make_key: MakeKey) -> None:
    """A damaged entry is in the way, others have to go, a killed process left something."""
    place = cache.folder / "built"
    for number in range(3):
        other = make_key(variant=str(number))
        cache.get_or_build(other, lambda: bytes(250_000))
        os.utime(place / f"{other.digest}.built", (number, number))
    cache.get_or_build(make_key(), lambda: b"old")
    (place / f"{make_key().digest}.built").write_bytes(b"damaged")
    (place / "dead.part").touch()
    os.utime(place / "dead.part", (0, 0))


def hit(cache: BuiltCache, make_key: MakeKey) -> None:
    """It is there."""
    cache.get_or_build(make_key(), lambda: PLAN)


BUILDING = [
    "open", "flock", "open", "write", "write", "write", "write", "fsync", "close", "replace",
    "open", "fsync", "close", "unlink", "close",
]  # fmt: skip
SCENES = {
    fresh: ["mkdir", "mkdir", *BUILDING],
    # The quarantine; then what makes room: the part, what was quarantined, an entry.
    busy: ["mkdir", "replace", *BUILDING[:2], "unlink", "unlink", "unlink", *BUILDING[2:]],
    hit: ["utime"],
}


@pytest.fixture
def attempt(
    tmp_path: Path, make_key: MakeKey, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[BuiltCache, Built, list[str]]]:
    """Sets a scene, and asks for an engine while something happens at each step."""
    monkeypatch.setattr(entry, "BLOCK", 150_000)

    def attempt(
        scene: Callable[..., None], name: object, act: Callable[..., None]
    ) -> tuple[BuiltCache, Built, list[str]]:
        cache = BuiltCache(tmp_path / str(name), 1_000_000)
        scene(cache, make_key)
        with steps(cache.folder, act) as seen:
            done = cache.get_or_build(make_key(), lambda: PLAN)
        return cache, done, seen.names

    return attempt


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("scene", SCENES)
def test_errors_at_every_step(
    attempt: Callable[..., tuple[BuiltCache, Built, list[str]]],
    key: BuildKey,
    scene: Callable[..., None],
    lasting: bool,
    number: int,
):
    names = SCENES[scene]
    assert attempt(scene, "well", lambda *_: None)[2] == names
    # With the entry in place, the lock file may stay: no one misses it.
    silent = {len(names) - 2, len(names) - 1} if scene is not hit else set[int]()
    for at, name in enumerate(names):

        def fail(step: int, called: str, phase: str, at: int = at) -> None:
            first = step == at + 1 and phase == ("during" if called == "write" else "before")
            if first or (lasting and step > at + 1):
                raise OSError(number, os.strerror(number))

        cache, done, _ = attempt(scene, at, fail)
        told = f"{name}, step {at}: {done}"
        assert done.data == PLAN, told
        for note in done.notes:
            assert note.endswith("."), told
            assert ". " not in note, told
            assert os.strerror(number) in note or "was moved to" in note, told
        own = sum(os.strerror(number) in note for note in done.notes)
        assert own == (at not in silent) if not lasting else own >= (at not in silent), told
        place = cache.folder / "built"
        left = set(os.listdir(place)) if place.exists() else set[str]()
        if not lasting:  # else what was begun cannot be taken away either
            assert not {one for one in left if one.endswith(".part")} - {"dead.part"}, told
        again = cache.get_or_build(key, lambda: PLAN)
        assert (again.data, again.cached, again.built) == (PLAN, True, not done.cached), told


def test_a_read_only_disk_is_one_sentence(cache: BuiltCache, make_key: MakeKey, steps: Any):
    """That it cannot be locked either is no second one."""
    cache.get_or_build(make_key(variant="other"), lambda: b"other")

    def fail(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with steps(cache.folder, fail):
        done = cache.get_or_build(make_key(), lambda: PLAN)
    assert (done.data, done.cached, len(done.notes)) == (PLAN, False, 1)
    assert "cannot be kept" in done.notes[0]
    assert cache.get(make_key(variant="other")) == b"other"


def writing_calls() -> set[str]:
    """Functions of `os`, `shutil` and `Path` by which the package changes something on the disk."""
    changing = {
        "open", "write", "fsync", "close", "replace", "rename", "unlink", "remove", "rmdir",
        "mkdir", "makedirs", "utime", "chmod", "link", "symlink", "truncate", "flock", "rmtree",
        "write_bytes", "write_text", "touch", "symlink_to", "hardlink_to", "fdatasync", "pwrite",
    }  # fmt: skip
    found: set[str] = set()
    for path in Path(built.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in changing:
                found.add(f"{ast.unparse(node.value)}.{node.attr}")
    return found


def test_the_steps_are_all_there_are(steps: Any):
    """A new way to write is a new way to fail, and belongs into steps.py."""
    writes: tuple[str, ...] = steps.__init__.__globals__["WRITES"]
    known = {f"os.{name}" for name in (*writes, "makedirs")} | {"fcntl.flock"}
    # Ours, which is made of these; and a folder that somebody put where a file belongs.
    assert writing_calls() - known == {"entry.write", "shutil.rmtree"}
