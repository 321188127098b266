"""Controls that write one port at the same site, step and row: found before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scumble.arrays import Bools
from scumble.controls import Branch, Control, FeatureRoute, Join, Mix, Region, Route
from scumble.errors import OptionError
from scumble.plans import Plan
from scumble.sites import Kind, SiteTable

__all__ = ["require_apart"]


@dataclass(frozen=True, slots=True, eq=False)
class Claim:
    """What one control writes.

    Attributes:
        owner: the plugin.
        port: `route.k`, `mix`, ...
        branch: the row.
        kind: of the sites.
        sites: where; what the row has only one of, whatever the sites, is claimed at each.
        shared: True if it is such a thing.
        steps: (steps,) bool.
    """

    owner: str
    port: str
    branch: Branch
    kind: Kind
    sites: tuple[int, ...]
    shared: bool
    steps: Bools


def require_apart(plans: Sequence[Plan], sites: SiteTable) -> None:
    """Refuse plans that contradict each other, or themselves.

    A row has one source of queries, keys, values and features at a site and step; and one mix, one
    pair of region masks and one row that it joins at a step, whatever the sites.

    Args:
        plans: of one run.
        sites: of the model, for their paths.

    Raises:
        OptionError: naming both plugins, the port, the row, the site and the step.
    """
    known: dict[tuple[str, Branch], list[Claim]] = {}
    for plan in plans:
        for control in plan.controls:
            for claim in _claims(plan.owner, control):
                others = known.setdefault((claim.port, claim.branch), [])
                for other in others:
                    _require(other, claim, sites)
                others.append(claim)


def _claims(owner: str, control: Control) -> Iterator[Claim]:
    match control:
        case Route(branch=branch, sites=sites, steps=steps):
            for slot, other in zip("qkv", (control.query, control.key, control.value), strict=True):
                if other is not None:
                    yield Claim(owner, f"route.{slot}", branch, "self", sites, False, steps)
        case FeatureRoute(branch=branch, sites=sites, steps=steps):
            yield Claim(owner, "feature_route", branch, "resnet", sites, False, steps)
        case Mix(branch=branch, sites=sites):
            on = np.array([control.pair(step) is not None for step in range(len(control.at))])
            yield Claim(owner, "mix", branch, "cross", sites, True, on)
        case Region(branch=branch, sites=sites, steps=steps):
            yield Claim(owner, "region", branch, "self", sites, True, steps)
        case Join(branch=branch, sites=sites, steps=steps):
            yield Claim(owner, "join", branch, "self", sites, True, steps)
        case _:
            return


def _require(one: Claim, two: Claim, sites: SiteTable) -> None:
    """Raise OptionError if two claims of one port and branch meet at a step and site."""
    steps = np.flatnonzero(one.steps & two.steps)
    met = sorted(set(one.sites) & set(two.sites))
    where = met or (two.sites if two.shared else ())
    if not len(steps) or not where:
        return
    picture, text = two.branch.picture, two.branch.text
    row = f"target {picture}" if picture else "the source"
    seen = f"with the text {text!r}"
    if isinstance(text, bool):
        seen = "with its text" if text else "without text"
    who = f"plugin {one.owner!r} twice"
    if one.owner != two.owner:
        who = f"plugins {one.owner!r} and {two.owner!r}"
    # A site that is not there is another fault, and told of by another check.
    path = dict(enumerate(site.path for site in sites.of(two.kind))).get(where[0], where[0])
    once = "" if met else f", and a row has one {two.port} for all sites"
    raise OptionError(
        f"port {two.port!r} of {row} {seen} is written at step {steps[0]} and site {path} by "
        f"{who}{once}; use one of them, or other steps{'' if two.shared else ' or sites'}."
    )
