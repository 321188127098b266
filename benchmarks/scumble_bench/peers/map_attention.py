"""Attention whose probability maps are built, handed to Python and written back, at every site."""

# torch and diffusers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble.sites import Site
from scumble_engines.torch.sites import sites_of

__all__ = ["ControlSlot", "MapControl", "MapProcessor", "install"]


class MapControl(Protocol):
    """What is handed every map; it may change it in place."""

    def __call__(self, maps: Tensor, site: Site) -> Tensor:
        """Return the maps to attend with, (rows * heads, queries, keys), as they came."""
        ...


@dataclass(slots=True)
class ControlSlot:
    """Holds the control of the UNet call under way; None leaves every map as it is."""

    control: MapControl | None = None


class MapProcessor:
    """Attention of one site in three batched products over (rows * heads, ..) tensors.

    Args:
        site: where this is.
        slot: shared by all processors of a UNet.
    """

    def __init__(self, site: Site, slot: ControlSlot) -> None:
        self.site = site
        self._slot = slot

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the site's output, (rows, cells, channels)."""
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))
        key = attn.head_to_batch_dim(attn.to_k(text))
        value = attn.head_to_batch_dim(attn.to_v(text))
        maps = attn.get_attention_scores(query, key)  # baddbmm, then softmax
        if self._slot.control is not None:
            maps = self._slot.control(maps, self.site)
        out = attn.batch_to_head_dim(torch.bmm(maps, value))
        project, dropout = attn.to_out
        return dropout(project(out))


def install(unet: UNet2DConditionModel) -> ControlSlot:
    """Put a `MapProcessor` at every attention site, and return what they share."""
    slot = ControlSlot()
    processors: dict[str, Any] = {
        f"{site.path}.processor": MapProcessor(site, slot)
        for site in sites_of(unet)
        if site.kind != "resnet"
    }
    unet.set_attn_processor(processors)
    return slot
