"""An edit as data: what a plugin returns, and all that an engine needs to carry it out.

A `Plan` is a tuple of controls. Each names the branches it changes, the sites and the steps, and
holds arrays; none holds a function. The planner turns plans into port values for each step.
"""

from dataclasses import dataclass, field
from typing import TypeAlias, cast

import numpy as np

from scumble.arrays import Array, Bools, Floats, Indices, frozen
from scumble.errors import OptionError
from scumble.ports import Group

__all__ = [
    "Branch",
    "Control",
    "FeatureRoute",
    "Mix",
    "Plan",
    "Read",
    "Region",
    "Route",
    "Watch",
    "group_of",
    "steps_between",
]


@dataclass(frozen=True, slots=True, order=True)
class Branch:
    """One row of a run: a picture, with or without its text.

    Attributes:
        picture: 0 is the source, 1 the first target.
        text: True for the row that sees the prompt, False for the unconditional one.
    """

    picture: int
    text: bool = True


def steps_between(steps: int, start: int, stop: int) -> Bools:
    """Return (steps,) True for start <= step < stop, step 0 being the noisiest."""
    index = np.arange(steps)
    return (index >= start) & (index < stop)


def _freeze(control: object, **arrays: Array) -> None:
    for name, value in arrays.items():
        object.__setattr__(control, name, frozen(value))


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Self-attention of one branch takes Q, K or V from others: O = SDPA(Q[q], K[k], V[v]).

    Attributes:
        branch: the branch whose output changes.
        steps: (steps,) bool.
        sites: indices of self-attention sites.
        query, key, value: the branch each comes from; None is its own.
    """

    branch: Branch
    steps: Bools
    sites: tuple[int, ...]
    query: Branch | None = None
    key: Branch | None = None
    value: Branch | None = None

    def __post_init__(self) -> None:
        _freeze(self, steps=np.asarray(self.steps, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """Cross-attention of one branch mixes maps: O = A_source (S V) + A_own (d V).

    One (S, d) pair serves many steps, so the pairs are listed once and steps point to them.

    Attributes:
        branch: the branch whose output changes.
        source: the branch whose maps come in.
        matrices: (n, tokens, tokens) S, row = source token, column = target token.
        own: (n, tokens) d, by target token.
        at: (steps,) int, which pair is in force; -1 for none.
        sites: indices of cross-attention sites.
    """

    branch: Branch
    source: Branch
    matrices: Floats
    own: Floats
    at: Indices
    sites: tuple[int, ...]

    def __post_init__(self) -> None:
        pairs, *square = self.matrices.shape
        if len(set(square)) != 1 or self.own.shape != (pairs, square[0]):
            raise OptionError(
                f"a mix needs (n, tokens, tokens) and (n, tokens); got {self.matrices.shape} "
                f"and {self.own.shape}."
            )
        if self.at.min() < -1 or self.at.max() >= pairs:
            raise OptionError(f"a mix points to pair {self.at.max()} of {pairs}.")
        _freeze(self, matrices=self.matrices, own=self.own, at=self.at.astype(np.int64))

    def pair(self, step: int) -> tuple[Floats, Floats] | None:
        """Return (S, d) at a step, or None where the mix is off or changes nothing."""
        index = int(self.at[step])
        if index < 0:
            return None
        matrix, own = self.matrices[index], self.own[index]
        return None if not matrix.any() and (own == 1).all() else (matrix, own)


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """Ask for A.w of one branch: attention of weighted tokens, mean over heads and chosen sites.

    Attributes:
        name: under which an `after_step` hook finds the (k, height, width) map.
        branch: whose maps, after any mix.
        weights: (k, tokens).
        sites: indices of cross-attention sites, all of one stride.
        steps: (steps,) bool.
    """

    name: str
    branch: Branch
    weights: Floats
    sites: tuple[int, ...]
    steps: Bools

    def __post_init__(self) -> None:
        _freeze(self, weights=self.weights, steps=np.asarray(self.steps, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRoute:
    """One branch takes the output of a resnet's second convolution from another (PnP).

    Attributes:
        branch: the branch that takes.
        source: the branch that gives.
        sites: indices of resnet sites.
        steps: (steps,) bool.
    """

    branch: Branch
    source: Branch
    sites: tuple[int, ...]
    steps: Bools

    def __post_init__(self) -> None:
        _freeze(self, steps=np.asarray(self.steps, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Self-attention of one branch keeps to regions: query i sees key j iff their masks agree.

    Attributes:
        branch: the branch whose output changes.
        query: (height, width) mask of its queries, 0 or 1, at latent size.
        key: (height, width) mask of the keys it sees (the source's, when its keys are routed).
        sites: indices of self-attention sites.
        steps: (steps,) bool.
    """

    branch: Branch
    query: Floats
    key: Floats
    sites: tuple[int, ...]
    steps: Bools

    def __post_init__(self) -> None:
        _freeze(self, query=self.query, key=self.key, steps=np.asarray(self.steps, dtype=bool))


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
        _freeze(self, steps=np.asarray(self.steps, dtype=bool))


Control: TypeAlias = Route | Mix | Read | FeatureRoute | Region | Watch

_GROUP: dict[type[object], Group] = {
    Route: "route",
    Mix: "mix",
    Read: "read",
    FeatureRoute: "feature",
    Region: "region",
}


def group_of(control: Control) -> Group | None:
    """Return the port group that a control is bound to; a `Watch` needs none."""
    return _GROUP.get(type(control))


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
            kinds = "Route, Mix, Read, FeatureRoute, Region and Watch"
            raise OptionError(f"a plan holds a tuple of controls: {kinds}.")

    @property
    def needs(self) -> frozenset[Group]:
        """The port groups without which an engine cannot run this plan."""
        return frozenset(g for g in map(group_of, self.controls) if g is not None)
