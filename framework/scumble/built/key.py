"""What determines the bytes of a built engine, and the digest that names them."""

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass, field, fields
from typing import Any

from scumble.errors import OptionError

__all__ = ["FORMAT", "BuildKey"]

FORMAT = 1
"""Goes up when the same key no longer leads to the same use of the bytes."""

SHA256 = re.compile(r"[0-9a-f]{64}")


def _platform() -> str:
    return f"{sys.platform}-{platform.machine().lower()}"


@dataclass(frozen=True, slots=True)
class BuildKey:
    """Everything that determines the bytes of a built engine.

    Two builds with equal keys may stand for each other; a difference in any field is another
    entry. A field added here is part of the digest without further ado.

    Attributes:
        graph: sha256 of the graph file, as parsed.
        weights: sha256 of the weight file.
        variant: name of the graph in its pack.
        engine: which runtime built it, such as `tensorrt_rtx`.
        runtime: version of that runtime.
        target: compute capability, such as `sm89`, or the device's own name for `current`.
        precision: of the arithmetic.
        rows: (least, best, most) rows of each profile.
        picture: (height, width) in pixels.
        options: what else the builder was told, as (name, value) sorted by name.
        stripped: True if the weights were left out, to be put in when it is loaded.
        format: Scumble's own number, for what changes in how it builds.
        platform: operating system and processor; a plan of one does not load on another.
    """

    graph: str
    weights: str
    variant: str
    engine: str
    runtime: str
    target: str
    precision: str
    rows: tuple[tuple[int, int, int], ...]
    picture: tuple[int, int]
    options: tuple[tuple[str, str], ...] = ()
    stripped: bool = False
    format: int = FORMAT
    platform: str = field(default_factory=_platform)

    def __post_init__(self) -> None:
        for name in ("graph", "weights"):
            if not SHA256.fullmatch(getattr(self, name)):
                raise OptionError(f"{name} of a build key is no sha256 in lower-case hex.")
        if not self.rows or any(not 1 <= low <= best <= most for low, best, most in self.rows):
            raise OptionError(
                f"rows of a build key are {self.rows}; each is (least, best, most), from 1 up."
            )
        names = [name for name, _ in self.options]
        if names != sorted(set(names)):
            raise OptionError(
                f"options of a build key are named {names}; sort them, and give each name once."
            )

    def as_json(self) -> dict[str, Any]:
        """Return every field as JSON has it: tuples as lists."""
        return json.loads(self._canonical())

    @property
    def digest(self) -> str:
        """The sha256 of all fields, in hex; the name of the entry."""
        return hashlib.sha256(self._canonical().encode()).hexdigest()

    def _canonical(self) -> str:
        """Return the one JSON text of this key: sorted names, no spaces, ASCII."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
