"""Bits that flip and ends that are missing, in the manifest and in the plan."""

import os
import random
from pathlib import Path

import pytest

from scumble.built import BuildKey, BuiltCache, entry
from scumble.built.shelf import MOST, QUARANTINE

PLAN = random.Random(1).randbytes(20_000)


def refuse_all(cache: BuiltCache, key: BuildKey, flips: int, cuts: int) -> None:
    """Damage an entry in as many ways, half of the flips before the plan begins."""
    cache.get_or_build(key, lambda: PLAN)
    place = cache.folder / "built"
    path = place / f"{key.digest}{entry.SUFFIX}"
    whole = path.read_bytes()
    head = len(whole) - len(PLAN)
    chance = random.Random(2)
    bits = [
        *chance.sample(range(8 * head), flips // 2),
        *chance.sample(range(8 * head, 8 * len(whole)), flips - flips // 2),
    ]
    lengths = [*chance.sample(range(head), cuts // 2), len(whole) - 1, head]
    lengths += chance.sample(range(head + 1, len(whole) - 1), cuts - len(lengths))
    assert (len(set(bits)), len(set(lengths))) == (flips, cuts)
    for bit in bits:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        refused(cache, key, path, bytes(changed))
    for length in lengths:
        refused(cache, key, path, whole[:length])
    path.write_bytes(whole)
    assert cache.get(key) == PLAN


def refused(cache: BuiltCache, key: BuildKey, path: Path, changed: bytes) -> None:
    """It is not handed out, is set aside as it was found, and is built anew."""
    aside = path.parent / QUARANTINE
    path.write_bytes(changed)
    notes: list[str] = []
    assert cache.get(key, notes) is None
    assert len(notes) == 1
    assert not path.exists()
    newest = max(aside.iterdir(), key=lambda one: one.name)
    assert newest.read_bytes() == changed
    done = cache.get_or_build(key, lambda: PLAN)
    assert (done.data, done.built, done.cached, done.notes) == (PLAN, True, True, ())
    assert len(os.listdir(aside)) <= MOST


def test_a_few(cache: BuiltCache, key: BuildKey):
    refuse_all(cache, key, 60, 20)


@pytest.mark.slow
def test_a_thousand_flips_and_two_hundred_cuts(
    cache: BuiltCache, key: BuildKey, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # nothing here is about a power cut
    refuse_all(cache, key, 1000, 200)
