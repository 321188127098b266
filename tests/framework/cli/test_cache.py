import json
import os
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuildKey, BuiltCache

KEYS = [
    BuildKey(
        graph="a" * 64,
        weights="b" * 64,
        variant=variant,
        engine="tensorrt_rtx",
        runtime="1.7.1",
        target="sm89",
        precision="fp16",
        rows=((1, 3, 8),),
        picture=(512, 768),
    )
    for variant in ("routed", "plain")
]


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BuiltCache:
    """Two built engines, the first of them used last."""
    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("SCUMBLE_CACHE_GB", "0.01")
    cache = BuiltCache()
    for number, key in enumerate(KEYS):
        cache.get_or_build(key, lambda: bytes(1_000_000))
        used = 1e9 - number
        os.utime(cache.folder / "built" / f"{key.digest}.built", (used, used))
    return cache


def test_list(scumble: Any, cache: BuiltCache):
    done = scumble("cache")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1].split() == [
        "tensorrt_rtx", "routed", "sm89", "fp16", "512x768", "1.0", "MB",
        "2001-09-09T01:46:40+00:00",
    ]  # fmt: skip
    assert lines[2].split()[1] == "plain"
    end = f"2 built engines and 0 quarantined files, 2.0 MB of 10.0 MB, in {cache.folder}"
    assert lines[-1] == end
    assert scumble("cache", "list").out == done.out
    assert scumble("cache", "--quiet").out == ""


def test_a_damaged_one(scumble: Any, cache: BuiltCache):
    (cache.folder / "built" / f"{KEYS[0].digest}.built").write_bytes(b"x")
    assert scumble("cache").out.splitlines()[1].split()[-1] == "damaged"


def test_json(scumble: Any, cache: BuiltCache):
    found = json.loads(scumble("cache", "--json").out)
    assert [entry["key"] for entry in found["entries"]] == [key.as_json() for key in KEYS]
    assert [entry["digest"] for entry in found["entries"]] == [key.digest for key in KEYS]
    assert found["usage"]["entries"] == 2
    assert (found["folder"], found["budget_bytes"]) == (str(cache.folder), 10_000_000)


def test_clear(scumble: Any, cache: BuiltCache):
    done = scumble("cache", "clear")
    assert done.out == (
        f"removed 2 built engines and 0 quarantined files, 2.0 MB, from {cache.folder}\n"
    )
    assert cache.entries() == ()
    removed = json.loads(scumble("cache", "clear", "--json").out)["removed"]
    assert removed == {"entries": 0, "quarantined": 0, "bytes": 0}
    assert scumble("cache", "clear", "--quiet").out == ""


def test_a_folder_that_cannot_be_trusted(scumble: Any, cache: BuiltCache):
    cache.folder.chmod(0o777)
    for action in ("list", "clear"):
        scumble("cache", action).refused("others may write to", str(cache.folder))


def test_what_it_cannot_do(scumble: Any, cache: BuiltCache):
    assert scumble("cache", "burn").code == 2
    assert len(cache.entries()) == 2
