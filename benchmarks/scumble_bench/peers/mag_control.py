"""MAG-Edit's attention: the source's maps are kept, the target's overwritten and looked at.

Source and target are calls of their own, as published (Mao et al. 2024, arXiv:2312.11396), not rows
of one batch; what is taken is Prompt-to-Prompt's refinement, and of the row with text alone.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable

import torch
from torch import Tensor

from scumble.sites import Site, SiteTable
from scumble_bench.peers.map_controller import MapEdit

__all__ = ["MagControl", "space_loss", "token_loss"]

OUTSIDE = 3.0
"""Lambda of eq. 6."""


class MagControl:
    """Keeps the maps of the source's call for the target's; for one edit.

    Args:
        edit: what happens to the target's maps.
        sites: the UNet's sites.

    Attributes:
        step: the step under way.
        seen: maps of 16x16 of the last call of the target, outside the middle, in order; each
            (heads, cells, tokens).
    """

    def __init__(self, edit: MapEdit, sites: SiteTable) -> None:
        self.step = 0
        self.seen: list[Tensor] = []
        self._edit = edit
        self._kept: dict[Site, Tensor] = {}
        stride = sites.map_stride
        self._looked_at = sites.select("cross", places=("down", "up"), strides=(stride,))

    def source(self, maps: Tensor, site: Site) -> Tensor:
        """Keep the maps of the last row, and return all as they are."""
        self._kept[site] = maps[-site.heads :].detach()
        return maps

    def target(self, maps: Tensor, site: Site) -> Tensor:
        """Return the maps with the last row's as the edit has them."""
        own, source = maps[-site.heads :], self._kept[site]
        if site.kind == "cross":
            own = self._edit.cross(source, own, self.step)
            if site.index in self._looked_at:
                self.seen.append(own)
        elif self._edit.self_steps[self.step] and site.stride >= self._edit.self_stride:
            own = source
        # Not in place: the way back needs what softmax gave.
        return torch.cat([maps[: -site.heads], own])

    def loss(self, of_site: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean over the maps of the target's last call, and forget them."""
        losses = [of_site(maps) for maps in self.seen]
        self.seen = []
        return torch.stack(losses).mean()


def token_loss(maps: Tensor, words: Tensor, inside: Tensor) -> Tensor:
    """Return (1 - rho)^2, averaged over heads (eq. 5).

    Args:
        maps: (heads, cells, tokens).
        words: (tokens,) weights that take the mean over a word.
        inside: (cells,) 0 or 1.
    """
    share = maps @ words / maps.sum(-1)
    rho = (share * inside).sum(-1) / inside.sum()
    return (1 - rho).square().mean()


def space_loss(maps: Tensor, words: Tensor, inside: Tensor) -> Tensor:
    """Return lambda (1 - r) - r, averaged over heads (eq. 6); the arguments are `token_loss`'s."""
    seen = maps @ words
    r = (seen * inside).sum(-1) / seen.sum(-1)
    return (OUTSIDE * (1 - r) - r).mean()
