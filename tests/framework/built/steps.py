"""Stops a cache at each step that it takes on the disk, to fail there or to die there."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from scumble.built.key import BuildKey

Phase = Literal["before", "during", "after"]
Act = Callable[[int, str, Phase], None]

WRITES = ("open", "write", "fsync", "close", "replace", "unlink", "mkdir", "utime")


def key(**changes: Any) -> BuildKey:
    """A key, and others that differ from it as asked."""
    fields: dict[str, Any] = {
        "graph": "a" * 64,
        "weights": "b" * 64,
        "variant": "routed",
        "engine": "tensorrt_rtx",
        "runtime": "1.7.1",
        "target": "sm89",
        "precision": "fp16",
        "rows": ((1, 3, 8),),
        "picture": (512, 512),
        "options": (("level", "3"), ("tf32", "no")),
    }
    return BuildKey(**{**fields, **changes})


def payload(tag: bytes, size: int) -> bytes:
    """Bytes that differ at each call and prove by themselves that they are of one piece."""
    seed = tag.ljust(16, b".") + os.urandom(16)
    return seed + hashlib.shake_256(seed).digest(size - len(seed))


def is_whole(data: bytes, tag: bytes) -> bool:
    """Whether these are the bytes of one `payload` of that tag."""
    seed, rest = data[:32], data[32:]
    return seed[:16] == tag.ljust(16, b".") and rest == hashlib.shake_256(seed).digest(len(rest))


class Steps:
    """Counts the calls that change something below a folder, and acts on each.

    Args:
        folder: calls that concern it, and what lies in it, are counted.
        act: given the number of the call, its name and the phase; a write has a middle.
    """

    def __init__(self, folder: Path, act: Act = lambda number, name, phase: None) -> None:
        self.names: list[str] = []
        self._folder = str(folder)
        self._act = act
        self._handles: set[int] = set()
        self._real: dict[str, Any] = {name: getattr(os, name) for name in WRITES}
        self._flock = fcntl.flock

    def __enter__(self) -> Self:
        for name in WRITES:
            setattr(os, name, self._wrapped(name))
        fcntl.flock = self._wrapped("flock")  # pyright: ignore[reportAttributeAccessIssue]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in WRITES:
            setattr(os, name, self._real[name])
        fcntl.flock = self._flock

    def point(self, name: str) -> None:
        """A step that is none of the disk's, such as one of the build."""
        self.names.append(name)
        self._act(len(self.names), name, "before")

    def _wrapped(self, name: str) -> Callable[..., Any]:
        real: Any = self._flock if name == "flock" else self._real[name]

        def call(first: Any, *rest: Any, **named: Any) -> Any:
            if not self._counts(name, first, rest):
                return real(first, *rest, **named)
            self.names.append(name)
            number = len(self.names)
            if name == "close":  # closed in any case, as the kernel does
                self._handles.discard(first)
                real(first)
            self._act(number, name, "before")
            if name == "close":
                return None
            if name == "write":
                data = rest[0]
                half = real(first, data[: len(data) // 2])
                self._act(number, name, "during")
                done = half + real(first, data[half:])
            else:
                done = real(first, *rest, **named)
            if name == "open":
                self._handles.add(done)
            self._act(number, name, "after")
            return done

        return call

    def _counts(self, name: str, first: Any, rest: tuple[Any, ...]) -> bool:
        if name in ("write", "fsync", "close", "flock"):
            return first in self._handles
        ours = not isinstance(first, int) and os.fspath(first).startswith(self._folder)
        if name == "open":
            return ours and bool(rest[0] & os.O_CREAT or os.path.isdir(first))
        return ours and not (name == "mkdir" and os.path.isdir(first))
