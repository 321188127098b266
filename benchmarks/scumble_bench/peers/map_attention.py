"""Attention whose probability maps are built, handed to Python and written back, at every site."""

# torch and diffusers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble.sites import Site
from scumble_engines.torch.sites import sites_of

__all__ = ["ControlSlot", "Heads", "KeyControl", "MapControl", "MapProcessor", "install"]


class MapControl(Protocol):
    """What is handed every map; it may change it in place."""

    def __call__(self, maps: Tensor, site: Site) -> Tensor:
        """Return the maps to attend with, (rows * heads, queries, keys), as they came."""
        ...


class Heads(NamedTuple):
    """What a site attends with, each (rows * heads, queries or keys, ..), a row's heads together.

    Attributes:
        query: (rows * heads, queries, width).
        key: (rows * heads, keys, width).
        value: likewise.
        maps: (rows * heads, queries, keys), every row's own.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    maps: Tensor


Attend: TypeAlias = Callable[[Heads, Site], Tensor]


@runtime_checkable
class KeyControl(Protocol):
    """What is handed everything that a site attends with, and attends in its place."""

    def attend(self, heads: Heads, site: Site) -> Tensor:
        """Return the site's output, (rows * heads, queries, width)."""
        ...


@dataclass(slots=True)
class ControlSlot:
    """Holds the control of the UNet call under way; None leaves every map as it is."""

    control: MapControl | KeyControl | None = None

    def attend(self, heads: Heads, site: Site) -> Tensor:
        """Return what the control makes of a site, (rows * heads, queries, width)."""
        control = self.control
        if isinstance(control, KeyControl):
            return control.attend(heads, site)
        maps = heads.maps if control is None else control(heads.maps, site)
        return torch.bmm(maps, heads.value)


class MapProcessor:
    """Attention of one site in three batched products over (rows * heads, ..) tensors.

    Args:
        site: where this is.
        slot: shared by all processors of a UNet.
        attend: of the slot, or what is called in its place.
    """

    def __init__(self, site: Site, slot: ControlSlot, attend: Attend | None = None) -> None:
        self.site = site
        self._slot = slot
        self._attend = attend or slot.attend

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
        if self._slot.control is None:
            out = torch.bmm(maps, value)
        else:
            out = self._attend(Heads(query, key, value, maps), self.site)
        project, dropout = attn.to_out
        return dropout(project(attn.batch_to_head_dim(out)))


def install(unet: UNet2DConditionModel, *, compiled: bool = False) -> ControlSlot:
    """Put a `MapProcessor` at every attention site, and return what they share.

    Args:
        unet: its processors are replaced.
        compiled: whether the UNet is going to be compiled. Controls then stay outside: they are
            Python with a state of its own, which the compiler would take for constant and compile
            anew at every step.
    """
    slot = ControlSlot()
    attend = cast("Attend", torch.compiler.disable(slot.attend)) if compiled else None
    processors: dict[str, Any] = {
        f"{site.path}.processor": MapProcessor(site, slot, attend)
        for site in sites_of(unet)
        if site.kind != "resnet"
    }
    unet.set_attn_processor(processors)
    return slot
