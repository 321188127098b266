"""Prompt-to-Prompt on probability maps (Hertz et al. 2022, arXiv:2208.01626, algorithm 1).

The controller sees the maps of every site at every step, of unconditional source and target, then
conditional source and target. It keeps those of the conditional rows and overwrites the target's;
what it keeps is what was written, for it holds views, as the published code does.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from scumble.alignment import refine_alignment, replace_matrix
from scumble.prompts import Prompt
from scumble.sites import Site, SiteTable
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions, columns, window

__all__ = ["MapController", "MapEdit"]

STORED_SIDE = 32
"""Maps of this many cells a side, of the native picture, and smaller ones are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class MapEdit:
    """What happens to the target's maps.

    Attributes:
        alphas: (steps, tokens) 1 where a target token takes the source's cross-attention.
        mapper: (source tokens, target tokens) of a word swap, or None to refine.
        places: (tokens,) the source token of each target token, if refined.
        kept: (tokens,) 0 for a token that is new, if refined.
        equalizer: (tokens,) factor on each target token.
        self_steps: (steps,) True where self-attention is taken.
        self_stride: the finest stride at which it is.
    """

    alphas: Tensor
    mapper: Tensor | None
    places: Tensor
    kept: Tensor
    equalizer: Tensor
    self_steps: tuple[bool, ...]
    self_stride: int

    @classmethod
    def of(
        cls,
        options: PromptToPromptOptions,
        source: Prompt,
        target: Prompt,
        sites: SiteTable,
        steps: int,
        like: Tensor,
    ) -> Self:
        """Read an edit's options as the plugin reads them; tensors are of the kind of `like`."""
        counted = steps + 1 if "extra_step" in options.compat else steps
        given = options.cross_window
        by_word = dict(given) if isinstance(given, dict) else {"default": given}
        default = window(steps, by_word.pop("default", 0.8), counted)
        alphas = np.repeat(default[:, None].astype(float), len(target.ids), axis=1)
        for word, bounds in by_word.items():
            alphas[:, columns([target], word)[0] > 0] = window(steps, bounds, counted)[:, None]
        equalizer = np.ones(len(target.ids))
        for word, factor in options.reweight.items():
            equalizer[columns([target], word)[0] > 0] = factor
        same = len(source.chunks) == len(target.chunks)
        mapper = None
        if options.mode == "replace" or (options.mode == "auto" and same):
            compat = "unshifted_tail" in options.compat
            mapper = torch.from_numpy(replace_matrix(source, target, compat_tail=compat)).to(like)
        places, kept = refine_alignment(source, target)
        stride = sites.map_stride if options.self_stride is None else options.self_stride
        if options.self_stride is None and "self_32" in options.compat:
            stride = max(1, stride // 2)
        return cls(
            alphas=torch.from_numpy(alphas).to(like),
            mapper=mapper,
            places=torch.from_numpy(places).to(like.device),
            kept=torch.from_numpy(kept).to(like),
            equalizer=torch.from_numpy(equalizer).to(like),
            self_steps=tuple(bool(on) for on in window(steps, options.self_window)),
            self_stride=stride,
        )

    def cross(self, source: Tensor, own: Tensor, step: int) -> Tensor:
        """Return the target's cross-attention, (heads, queries, tokens), from both pictures'."""
        if self.mapper is not None:
            taken = torch.einsum("hps,st->hpt", source, self.mapper)
        else:
            taken = source[:, :, self.places] * self.kept + own * (1 - self.kept)
        alpha = self.alphas[step]
        return taken * self.equalizer * alpha + own * (1 - alpha)


class MapController:
    """Keeps and edits the maps of one edit; for one use.

    Args:
        edit: what happens to the target's maps.
        sites: the UNet's sites.

    Attributes:
        step: the step under way.
    """

    def __init__(self, edit: MapEdit, sites: SiteTable) -> None:
        self.step = 0
        self._edit = edit
        self._finest = max(1, min(sites.native) // STORED_SIDE)
        self._now: dict[Site, Tensor] = {}
        self._sum: dict[Site, Tensor] = {}

    @property
    def self_steps(self) -> tuple[bool, ...]:
        """(steps,) True where self-attention is taken."""
        return self._edit.self_steps

    @property
    def stored(self) -> Mapping[Site, Tensor]:
        """Maps of the conditional rows summed over the steps so far, (2, heads, queries, keys)."""
        return self._sum

    def __call__(self, maps: Tensor, site: Site) -> Tensor:
        """Edit (4 * heads, queries, keys) in place and return it."""
        conditional = maps.unflatten(0, (4, -1))[2:]
        if site.stride >= self._finest:
            self._now[site] = conditional
        source, target = conditional
        if site.kind == "cross":
            target.copy_(self._edit.cross(source, target, self.step))
        elif self._edit.self_steps[self.step] and site.stride >= self._edit.self_stride:
            target.copy_(source)
        return maps

    def end_step(self) -> None:
        """Add the step's maps to the sums, and go on to the next."""
        for site, maps in self._now.items():
            if site in self._sum:
                self._sum[site] += maps
            else:
                self._sum[site] = maps
        self._now = {}
        self.step += 1
