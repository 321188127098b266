"""The rows that a plan speaks of, and the controls that only ask for one: `Watch` and `Also`."""

from dataclasses import dataclass

import numpy as np

from scumble.arrays import Bools, frozen

__all__ = ["Also", "Branch", "Watch"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One row of a run: a picture's latent, under a text.

    Attributes:
        picture: 0 is the source, 1 the first target.
        text: True for the row that sees the picture's prompt, False for the unconditional one; or
            another text, for a row that sees that.
    """

    picture: int
    text: bool | str = True

    @property
    def order(self) -> tuple[int, bool, str]:
        """What rows are sorted by: picture, then without text, with its prompt, with others."""
        return self.picture, isinstance(self.text, str), str(self.text)


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """Say that an `after_step` hook reads a picture's latent, so that it must be kept up to date.

    Attributes:
        picture: 0 is the source.
        steps: (steps,) bool.
    """

    picture: int
    steps: Bools

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", frozen(np.asarray(self.steps, dtype=bool)))


@dataclass(frozen=True, slots=True, eq=False)
class Also:
    """Ask for the noise of one more row of a picture, for a `guidance` hook to combine.

    Nothing runs at a step at which the picture does not move.

    Attributes:
        name: under which `GuidedNoise.also` has it.
        branch: the row.
        steps: (steps,) bool.
    """

    name: str
    branch: Branch
    steps: Bools

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", frozen(np.asarray(self.steps, dtype=bool)))
