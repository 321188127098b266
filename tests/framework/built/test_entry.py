import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuildKey
from scumble.built import entry as module
from scumble.built.entry import SUFFIX, DamagedError, describe, encode, read, settle, write

DATA = bytes(range(256)) * 3


@pytest.fixture
def path(tmp_path: Path, key: BuildKey) -> Path:
    """An entry."""
    path = tmp_path / f"{key.digest}{SUFFIX}"
    write(path, encode(key, DATA))
    return path


def test_what_was_written_is_read(path: Path, key: BuildKey):
    assert read(path, key) == DATA
    assert os.listdir(path.parent) == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_was_built(tmp_path: Path, key: BuildKey):
    write(tmp_path / "empty", encode(key, b""))
    assert read(tmp_path / "empty", key) == b""


def test_the_manifest_says_what_it_is(path: Path, key: BuildKey):
    manifest = describe(path)
    assert manifest.key == key.as_json()
    assert manifest.bytes == len(DATA)
    assert manifest.sha256 == hashlib.sha256(DATA).hexdigest()
    assert manifest.created.endswith("+00:00")
    assert set(manifest.versions) == {"scumble"}


def test_the_bytes_are_read_once(path: Path, key: BuildKey, monkeypatch: pytest.MonkeyPatch):
    """What is hashed is what is handed out, whatever happens to the file meanwhile."""
    real = hashlib.sha256
    hashed: list[bytes] = []

    def hash_and_spoil(data: bytes) -> Any:
        hashed.append(data)
        if len(data) == len(DATA):
            path.write_bytes(b"another file")
        return real(data)

    monkeypatch.setattr(module.hashlib, "sha256", hash_and_spoil)
    assert read(path, key) is hashed[-1]
    assert path.read_bytes() == b"another file"


def test_another_key(path: Path, make_key: Callable[..., BuildKey]):
    with pytest.raises(DamagedError, match="another key"):
        read(path, make_key(target="sm90"))


def test_there_is_none(tmp_path: Path, key: BuildKey):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "x", key)
    with pytest.raises(FileNotFoundError):
        describe(tmp_path / "x")


def test_every_bit_is_guarded(path: Path, key: BuildKey):
    whole = path.read_bytes()
    for place in range(0, 8 * len(whole), 97):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(DamagedError):
            read(path, key)
    for length in range(0, len(whole), 61):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            read(path, key)
    path.write_bytes(whole + b"x")
    with pytest.raises(DamagedError, match="was written with"):
        read(path, key)
    path.write_bytes(whole)
    assert read(path, key) == DATA


def sealed(manifest: bytes, data: bytes) -> bytes:
    """An entry around any manifest, with a first line that vouches for it."""
    digest = hashlib.sha256(manifest).hexdigest()
    return f"scumble-built 1 {len(manifest)} {digest}\n".encode() + manifest + data


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 2}, "does not read"),
        ({"bytes": -1}, "does not read"),
        ({"bytes": 1 << 60}, "was written with"),
        ({"sha256": "0" * 64}, "other bytes"),
        ({"key": {}}, "another key"),
        ({"more": 1}, "does not read"),
    ],
)
def test_a_manifest_that_is_well_formed_and_wrong(
    path: Path, key: BuildKey, change: dict[str, Any], why: str
):
    manifest = json.dumps({**describe(path).model_dump(), **change}).encode()
    path.write_bytes(sealed(manifest, DATA))
    with pytest.raises(DamagedError, match=why):
        read(path, key)


@pytest.mark.parametrize("manifest", [b"{", b"[]", b"\xff", b"[" * 99_999])
def test_a_manifest_that_is_none(path: Path, key: BuildKey, manifest: bytes):
    path.write_bytes(sealed(manifest, DATA))
    with pytest.raises(DamagedError, match="does not read"):
        read(path, key)


def test_another_format_of_the_file(path: Path, key: BuildKey):
    path.write_bytes(path.read_bytes().replace(b"scumble-built 1", b"scumble-built 2", 1))
    with pytest.raises(DamagedError, match="no line of a built engine"):
        read(path, key)


def test_a_link(path: Path, key: BuildKey, tmp_path: Path):
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(DamagedError, match="is a link"):
        read(tmp_path / "link", key)


def test_a_link_that_appears_after_the_look(
    path: Path, key: BuildKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "link").symlink_to(path)
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        read(tmp_path / "link", key)


def test_no_file(tmp_path: Path, key: BuildKey):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DamagedError, match="is no file"):
        read(tmp_path / "pipe", key)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_others_may_write_to_it(path: Path, key: BuildKey, mode: int):
    path.chmod(mode)
    with pytest.raises(DamagedError, match="written by others"):
        read(path, key)


def test_another_user_s(path: Path, key: BuildKey, monkeypatch: pytest.MonkeyPatch):
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    with pytest.raises(DamagedError, match="another user"):
        read(path, key)


def test_an_entry_is_replaced(path: Path, key: BuildKey):
    """While the old one is being read, too."""
    with path.open("rb") as old:
        write(path, encode(key, b"new"))
        assert old.read().endswith(DATA)
    assert read(path, key) == b"new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["write", "fsync", "close", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_nothing_is_left_where_it_fails(
    path: Path, key: BuildKey, steps: Any, name: str, error: BaseException
):
    def fail(number: int, called: str, phase: str) -> None:
        if called == name and phase != "after":
            raise error

    with steps(path.parent, fail), pytest.raises(type(error)):
        write(path, encode(key, b"new"))
    assert os.listdir(path.parent) == [path.name]
    assert read(path, key) == DATA


def test_a_disk_that_takes_a_little_at_a_time(
    path: Path, key: BuildKey, monkeypatch: pytest.MonkeyPatch
):
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:7]))
    write(path, encode(key, DATA[::-1]))
    assert read(path, key) == DATA[::-1]


def test_it_is_on_the_disk_before_it_has_its_name(path: Path, key: BuildKey, steps: Any):
    with steps(path.parent) as seen:
        write(path, encode(key, DATA))
        settle(path.parent)
    assert seen.names == [
        "open", "write", "write", "fsync", "close", "replace",
        "open", "fsync", "close",
    ]  # fmt: skip


def test_a_platform_that_cannot_settle(
    path: Path, key: BuildKey, steps: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module.sys, "platform", "win32")
    with steps(path.parent) as seen:
        settle(path.parent)
    assert seen.names == []
    path.chmod(0o666)  # all that a mode says there is whether it can be written
    assert read(path, key) == DATA
