"""An edit as data: what a plugin returns, and all that an engine needs to carry it out."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np

from scumble.arrays import Bools
from scumble.controls import Control, group_of
from scumble.errors import OptionError
from scumble.ports import Group

__all__ = ["Plan", "steps_between"]


def steps_between(steps: int, start: int, stop: int) -> Bools:
    """Return (steps,) True for start <= step < stop, step 0 being the noisiest."""
    index = np.arange(steps)
    return (index >= start) & (index < stop)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one plugin wants of a run.

    Attributes:
        controls: the edit; empty changes nothing.
        owner: the plugin's name, filled in by the host.
    """

    controls: tuple[Control, ...] = ()
    owner: str = field(default="")

    def __post_init__(self) -> None:
        given = cast("object", self.controls)
        if not isinstance(given, tuple) or not all(
            isinstance(control, Control) for control in cast("tuple[object, ...]", given)
        ):
            kinds = "Route, Mix, Read, FeatureRoute, Region, Join, Guide and Watch"
            raise OptionError(f"a plan holds a tuple of controls: {kinds}.")

    @property
    def needs(self) -> frozenset[Group]:
        """The port groups without which an engine cannot run this plan."""
        return frozenset(g for g in map(group_of, self.controls) if g is not None)
