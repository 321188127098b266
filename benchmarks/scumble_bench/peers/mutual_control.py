"""MasaCtrl's mutual self-attention (Cao et al. 2023, arXiv:2304.08465, section 3.2), as published.

Every site makes its maps first. At an active one they are thrown away, and each half of the batch,
without text and with, attends anew: both its pictures ask the source's keys for its values.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Collection

import torch
from torch import Tensor

from scumble.sites import Site
from scumble_bench.peers.map_attention import Heads

__all__ = ["MutualControl"]


class MutualControl:
    """Lets the target's self-attention ask the source; for one edit.

    Args:
        steps: at which it does, 0 being the noisiest.
        layers: self-attention sites at which it does.

    Attributes:
        step: the step under way.
    """

    def __init__(self, steps: Collection[int], layers: Collection[int]) -> None:
        self.step = 0
        self._steps = frozenset(steps)
        self._layers = frozenset(layers)

    def attend(self, heads: Heads, site: Site) -> Tensor:
        """Return a site's output of four rows, (4 * heads, queries, width)."""
        active = site.kind == "self" and site.index in self._layers and self.step in self._steps
        if not active:
            return torch.bmm(heads.maps, heads.value)
        halves = zip(*(given.chunk(2) for given in heads[:3]), strict=True)
        return torch.cat([_asked_of_source(*half) for half in halves])

    def end_step(self) -> None:
        """Go on to the next step."""
        self.step += 1


def _asked_of_source(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return what two pictures, (2 * heads, cells, width), take from the first of them."""
    heads = len(query) // 2
    both = query.unflatten(0, (2, heads)).transpose(0, 1).flatten(1, 2)
    scores = both @ key[:heads].transpose(1, 2) * query.shape[-1] ** -0.5
    taken = scores.softmax(-1) @ value[:heads]
    return taken.unflatten(1, (2, -1)).transpose(0, 1).flatten(0, 1)
