"""LocalBlend: outside the words' own maps the target keeps the source's latent.

As in the code of null-text inversion and PnP inversion: maps stored at 16x16, summed over the
steps so far, averaged over sites and heads, pooled, resized and cut at a share of their maximum.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scumble.prompts import Prompt
from scumble.sites import Site, SiteTable
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions, columns

__all__ = ["LocalBlend"]


class LocalBlend:
    """Blends the two latents of an edit after each step.

    Args:
        options: of the edit, with `blend_words`.
        prompts: source and target.
        sites: the UNet's sites.
        latent: (height, width).
        steps: of the run.
    """

    def __init__(
        self,
        options: PromptToPromptOptions,
        prompts: Sequence[Prompt],
        sites: SiteTable,
        latent: tuple[int, int],
        steps: int,
    ) -> None:
        self._latent = latent
        self._start = int(options.blend_start * steps + 1e-9)
        chosen = sites.select("cross", places=("down", "up"), strides=(sites.map_stride,))
        self._sites = [site for site in sites.of("cross") if site.index in chosen]
        self._blend = _weights(prompts, options.blend_words), options.blend_threshold
        self._subtract = None
        if options.subtract_words:
            self._subtract = _weights(prompts, options.subtract_words), options.subtract_threshold

    def __call__(self, latents: Tensor, stored: Mapping[Site, Tensor], step: int) -> Tensor:
        """Return (2, channels, height, width), the target blended into the source.

        Args:
            latents: source and target, (2, channels, height, width).
            stored: the controller's summed maps.
            step: the step just taken.
        """
        if step < self._start:
            return latents
        grid = self._sites[0].grid(self._latent)
        maps = torch.cat([stored[site] for site in self._sites], dim=1).float()
        mask = self._above(maps, grid, *self._blend, pool=True)
        if self._subtract is not None:
            mask &= ~self._above(maps, grid, *self._subtract, pool=False)
        return latents[:1] + mask * (latents - latents[:1])

    def _above(
        self, maps: Tensor, grid: tuple[int, int], weights: Tensor, threshold: float, *, pool: bool
    ) -> Tensor:
        """Return (2, 1, height, width) bool, the target's or-ed with the source's."""
        chosen = maps * weights.to(maps.device)[:, None, None]
        seen = chosen.sum(-1).mean(1).unflatten(1, grid)[:, None]
        if pool:
            seen = F.max_pool2d(seen, 3, stride=1, padding=1)
        seen = F.interpolate(seen, size=self._latent)
        above = seen / seen.amax((2, 3), keepdim=True) > threshold  # 0 / 0 is above nothing
        return above | above[:1]


def _weights(prompts: Sequence[Prompt], words: Sequence[str]) -> Tensor:
    """Return (2, tokens) 1 at the words' tokens."""
    masks = np.maximum.reduce([np.stack(columns(prompts, word)) for word in words])
    return torch.from_numpy(masks).float()
