"""An edit as data: what a plugin returns, and all that an engine needs to carry it out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from scumble.arrays import Bools
from scumble.controls import Control, group_of
from scumble.errors import OptionError, PluginError
from scumble.ports import Group

__all__ = ["Plan", "first_step", "steps_between"]


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
        start: the first step that is taken, 0 being the noisiest; the run begins with what the
            inversion gives at that level. The number of steps itself takes none.
    """

    controls: tuple[Control, ...] = ()
    owner: str = field(default="")
    start: int = 0

    def __post_init__(self) -> None:
        given = cast("object", self.controls)
        if not isinstance(given, tuple) or not all(
            isinstance(control, Control) for control in cast("tuple[object, ...]", given)
        ):
            kinds = "Route, Mix, Read, FeatureRoute, Region, Join, Guide, Watch and Also"
            raise PluginError(f"a plan holds a tuple of controls: {kinds}.")
        for control in self.controls:
            for part in ("sites", "terms"):
                # What yields may never end; a tuple does.
                if not isinstance(getattr(control, part, ()), tuple):
                    raise PluginError(f"the {part} of a {type(control).__name__} are a tuple.")

    @property
    def needs(self) -> frozenset[Group]:
        """The port groups without which an engine cannot run this plan."""
        return frozenset(g for g in map(group_of, self.controls) if g is not None)


def first_step(plans: Sequence[Plan], steps: int) -> int:
    """Return the first step that a run takes, 0 if no plan says otherwise.

    Raises:
        OptionError: there is no such step, or two plans name different ones.
    """
    named = {plan.start: plan.owner for plan in plans if plan.start}
    for start, owner in named.items():
        if not 0 <= start <= steps:
            raise OptionError(
                f"{owner or 'a plan'} starts at step {start}; this run has steps 0 to {steps - 1}."
            )
    if len(named) > 1:
        said = " and ".join(f"{owner!r} at {start}" for start, owner in sorted(named.items()))
        raise OptionError(f"plugins start at different steps, {said}; let them start at one.")
    return max(named, default=0)
