"""The edit that is timed, and pictures that no editor has seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scumble import Editor
from scumble.arrays import Array
from scumble.images import load_picture
from scumble_bench.demo_edits import EDITS, PICTURES

__all__ = ["TimedEdit", "unseen"]


@dataclass(frozen=True, slots=True)
class TimedEdit:
    """A word swap with LocalBlend on the demo's first picture.

    Attributes:
        steps: DDIM steps.
        options: of Prompt-to-Prompt; None takes the demo's.
        size: (height, width) in pixels; None is the model's native size.
    """

    steps: int
    options: dict[str, Any] | None = None
    size: tuple[int, int] | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What `Editor.edit` and the reference way are given beside the picture."""
        return {
            "source": PICTURES[0].prompt,
            "target": EDITS[0].target,
            "options": dict(EDITS[0].options if self.options is None else self.options),
            "steps": self.steps,
            "size": self.size,
        }

    def make_known(self, editor: Editor, picture: Array) -> None:
        """Edit a picture with another target, so that the next edit finds its source recorded."""
        another: dict[str, Any] = {**self.arguments, "target": EDITS[1].target}
        editor.edit(picture, **another)


def unseen() -> Callable[[], Array]:
    """Return a function that gives the demo's first picture, each time with other last bits.

    No eye can tell them apart, and no memory takes one for another.
    """
    pixels = load_picture(PICTURES[0].path).pixels
    rng = np.random.default_rng(0)
    return lambda: pixels ^ rng.integers(0, 2, pixels.shape, dtype=np.uint8)
