import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuildKey, BuiltCache
from scumble.errors import OptionError

NAMES = [field.name for field in fields(BuildKey)]


def another(value: Any) -> Any:
    """A value of the same type that differs as little as it can."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value[:-1] + ("1" if value[-1:] != "1" else "2")
        case (first, *rest) if isinstance(first, tuple):
            return (another(first), *rest)
        case (*first, last):
            return (*first, another(last))
    raise AssertionError(f"no other value is known for {value!r}")


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_part_of_the_digest(key: BuildKey, cache: BuiltCache, name: str):
    cache.get_or_build(key, lambda: b"one")
    other = replace(key, **{name: another(getattr(key, name))})
    assert other != key
    assert other.digest != key.digest
    assert cache.get(other) is None
    assert cache.get_or_build(other, lambda: b"other").built
    assert (cache.get(key), cache.get(other)) == (b"one", b"other")


def test_a_field_that_is_added_is_part_of_it_too(key: BuildKey):
    @dataclass(frozen=True, slots=True)
    class Further(BuildKey):
        driver: str = "580"

    known = {name: getattr(key, name) for name in NAMES}
    one, other = Further(**known), Further(**known, driver="590")
    assert len({key.digest, one.digest, other.digest}) == 3


def test_the_digest_is_that_of_canonical_json(key: BuildKey):
    assert set(key.as_json()) == set(NAMES)
    text = json.dumps(key.as_json(), sort_keys=True, separators=(",", ":"))
    assert key.digest == hashlib.sha256(text.encode()).hexdigest()


def test_it_is_the_same_in_another_process(key: BuildKey, make_key: Callable[..., BuildKey]):
    code = (
        "import ast, sys; from scumble.built import BuildKey; "
        "print(BuildKey(**ast.literal_eval(sys.argv[1])).digest)"
    )
    known = {name: getattr(key, name) for name in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code, repr(known)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == key.digest == make_key().digest


def test_names_and_values_do_not_run_into_each_other(make_key: Callable[..., BuildKey]):
    assert make_key(variant="ab", engine="c").digest != make_key(variant="a", engine="bc").digest
    one = make_key(options=(("a", "b,c"),))
    assert one.digest != make_key(options=(("a", "b"), ("c", ""))).digest


def test_a_changed_graph_is_another_key(
    cache: BuiltCache, make_key: Callable[..., BuildKey], tmp_path: Path
):
    """A bit or a piece of the ONNX file that is off: what was built from it is not found."""
    graph = tmp_path / "unet.onnx"
    whole = bytes(range(256)) * 8
    graph.write_bytes(whole)

    def now() -> BuildKey:
        return make_key(graph=hashlib.sha256(graph.read_bytes()).hexdigest())

    cache.get_or_build(now(), lambda: b"plan")
    for place in range(0, 8 * len(whole), 97):
        changed = bytearray(whole)
        changed[place // 8] ^= 1 << place % 8
        graph.write_bytes(changed)
        assert cache.get(now()) is None
    for length in range(0, len(whole), 101):
        graph.write_bytes(whole[:length])
        assert cache.get(now()) is None
    graph.write_bytes(whole)
    assert cache.get(now()) == b"plan"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"graph": "a" * 63}, "graph of a build key is no sha256"),
        ({"weights": "A" * 64}, "weights of a build key is no sha256"),
        ({"rows": ()}, "each is"),
        ({"rows": ((0, 1, 2),)}, "each is"),
        ({"rows": ((1, 3, 2),)}, "each is"),
        ({"options": (("b", "1"), ("a", "1"))}, "sort them"),
        ({"options": (("a", "1"), ("a", "2"))}, "each name once"),
    ],
)
def test_what_is_no_key(make_key: Callable[..., BuildKey], change: dict[str, Any], why: str):
    with pytest.raises(OptionError, match=why):
        make_key(**change)
