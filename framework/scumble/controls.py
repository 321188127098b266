"""What a plan is made of: controls, each of which says one thing about some branches.

Each names the branches it changes, the sites and the steps, and holds arrays; none holds a
function. The planner turns them into port values for each step.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from scumble.arrays import Array, Bools, Floats, Indices, frozen
from scumble.branches import Also, Branch, Watch
from scumble.errors import OptionError
from scumble.ports import Group

__all__ = [
    "Also",
    "Branch",
    "Control",
    "FeatureRoute",
    "Guide",
    "Join",
    "Mix",
    "Read",
    "Region",
    "Route",
    "Term",
    "Watch",
    "group_of",
]


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
        query: (height, width) mask of its queries, 0 or 1, at latent size; or the name of a mask
            that a `before_step` hook gives at each of the steps.
        key: likewise, of the keys it sees (the source's, when its keys are routed).
        sites: indices of self-attention sites.
        steps: (steps,) bool.
    """

    branch: Branch
    query: Floats | str
    key: Floats | str
    sites: tuple[int, ...]
    steps: Bools

    def __post_init__(self) -> None:
        given = {"query": self.query, "key": self.key}
        masks = {name: mask for name, mask in given.items() if not isinstance(mask, str)}
        _freeze(self, **masks, steps=np.asarray(self.steps, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Join:
    """Self-attention of one branch sees another's keys and values beside those that it has.

    O = SDPA(Q, [K; K_other], [V; V_other]), K and V after any route, and inside any region for
    these alone.

    Attributes:
        branch: the branch whose output changes.
        other: the branch whose keys and values are added.
        sites: indices of self-attention sites.
        steps: (steps,) bool.
    """

    branch: Branch
    other: Branch
    sites: tuple[int, ...]
    steps: Bools

    def __post_init__(self) -> None:
        _freeze(self, steps=np.asarray(self.steps, dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """A part of a loss on the cross-attention maps of one prompt.

    Attributes:
        kind: `token`, the mean over sites and heads of (1 - rho)^2, where rho is the words' mean
            share, inside the mask, of what all tokens get (MAG-Edit, arXiv:2312.11396, eq. 5);
            `space`, the mean of r, the share of the words' attention that lies inside (eq. 6).
        words: (tokens,) weights of the words.
        mask: (height, width) 0 or 1, at latent size.
        weight: factor on it.
        text: the prompt whose maps they are; None is the branch's own.
        rest: (tokens,) weights of all tokens in the denominator of rho; None is 1 each.
    """

    kind: Literal["token", "space"]
    words: Floats
    mask: Floats
    weight: float
    text: str | None = None
    rest: Floats | None = None

    def __post_init__(self) -> None:
        rest = np.ones(len(self.words)) if self.rest is None else self.rest
        _freeze(self, words=self.words, mask=self.mask, rest=rest)


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """Before a step, move one branch's latent down the gradient of a loss on its maps.

    x <- x - within * rate * dL/dx, with the branch's routes and mixes in force; L is the sum of
    the terms, each times its weight, and `constant`. Several guides of a branch are carried out in
    order, and none at a step that is the identity.

    Attributes:
        branch: whose latent moves; a target's row with text.
        terms: of the loss.
        constant: added to the loss, so that thresholds read as in a paper.
        sites: indices of cross-attention sites, all of one stride, whose maps the loss sees.
        steps: (steps,) bool.
        iterations: most updates a step.
        rate: (steps,) size of an update.
        within: (height, width) 0 or 1, where the latent may move.
        stop: (steps,) a loss at which a step's updates end; None is never.
    """

    branch: Branch
    terms: tuple[Term, ...]
    sites: tuple[int, ...]
    steps: Bools
    iterations: int
    rate: Floats
    within: Floats
    constant: float = 0.0
    stop: Floats | None = None

    def __post_init__(self) -> None:
        if not self.terms or self.iterations < 1:
            raise OptionError("a guide needs terms, and one iteration or more.")
        _freeze(self, steps=np.asarray(self.steps, dtype=bool), rate=self.rate, within=self.within)
        if self.stop is not None:
            _freeze(self, stop=self.stop)


Control: TypeAlias = Route | Mix | Read | FeatureRoute | Region | Join | Guide | Watch | Also

_GROUP: dict[type[object], Group] = {
    Route: "route",
    Mix: "mix",
    Read: "read",
    FeatureRoute: "feature",
    Region: "region",
    Join: "join",
    Guide: "loss",
}


def group_of(control: Control) -> Group | None:
    """Return the port group that a control is bound to; a `Watch` or `Also` needs none."""
    return _GROUP.get(type(control))
