"""Where attention happens in a UNet: one `Site` for each place that a control can address.

Sites are addressed by their diffusers module path and chosen by kind, place and stride, never by
counting calls, by class name or by the square root of a token count: pictures need not be square.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scumble.errors import ModelError

__all__ = ["Kind", "Place", "Site", "SiteTable"]

Kind = Literal["self", "cross", "resnet"]
Place = Literal["down", "mid", "up"]


@dataclass(frozen=True, slots=True)
class Site:
    """One addressable place of a UNet.

    Attributes:
        index: position among the sites of its kind, in execution order (down, mid, up).
        path: diffusers module path, e.g. `down_blocks.1.attentions.0.transformer_blocks.0.attn2`.
        kind: self-attention, cross-attention, or the output of a resnet's second convolution.
        place: encoder, bottleneck or decoder.
        stride: latent cells for each query cell along one side; 1 is full latent resolution.
        channels: width of the hidden state there.
        heads: attention heads; 0 for a resnet.
    """

    index: int
    path: str
    kind: Kind
    place: Place
    stride: int
    channels: int
    heads: int

    def grid(self, latent: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of this site for a latent of (height, width), rounded up."""
        return -(-latent[0] // self.stride), -(-latent[1] // self.stride)


@dataclass(frozen=True, slots=True)
class SiteTable:
    """All sites of one UNet, asserted when a model is loaded.

    Attributes:
        sites: every site, in execution order.
        native: (height, width) of the latent that the model was trained on.
    """

    sites: tuple[Site, ...]
    native: tuple[int, int]

    def __post_init__(self) -> None:
        for kind in ("self", "cross", "resnet"):
            found = [site.index for site in self.sites if site.kind == kind]
            if found != list(range(len(found))):
                raise ModelError(f"the {kind} sites are numbered {found}, want 0 to n-1 in order.")
        if not self.count("cross"):
            raise ModelError("this UNet has no cross-attention, so no word can control it.")

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def count(self, kind: Kind) -> int:
        """Return how many sites of a kind there are."""
        return sum(site.kind == kind for site in self.sites)

    def of(self, kind: Kind) -> tuple[Site, ...]:
        """Return the sites of a kind, by index."""
        return tuple(site for site in self.sites if site.kind == kind)

    def select(
        self,
        kind: Kind,
        *,
        places: tuple[Place, ...] = ("down", "mid", "up"),
        strides: tuple[int, ...] | None = None,
        least_stride: int = 1,
    ) -> tuple[int, ...]:
        """Return the indices of the sites of a kind at given places and strides.

        Args:
            kind: self, cross or resnet.
            places: encoder, bottleneck, decoder.
            strides: exactly these strides; None takes every stride from `least_stride` up.
            least_stride: the finest stride taken, e.g. 4 for 16x16 and coarser of a 64x64 latent.
        """
        return tuple(
            site.index
            for site in self.of(kind)
            if site.place in places
            and site.stride >= least_stride
            and (strides is None or site.stride in strides)
        )

    def up_to_maps(self, strides: tuple[int, ...]) -> tuple[Site, ...]:
        """Return the attention sites that run before the last map of some strides is known.

        Args:
            strides: of cross-attentions; that last one is among the sites returned.
        """
        attention = [site for site in self.sites if site.kind != "resnet"]
        seen = [n for n, s in enumerate(attention) if s.kind == "cross" and s.stride in strides]
        return tuple(attention[: max(seen, default=-1) + 1])

    @property
    def map_stride(self) -> int:
        """The stride at which words separate best: 16x16 cells of the native picture.

        Published methods read 16x16 maps of a 64x64 latent. Where a family has no cross-attention
        that coarse (SDXL), its coarsest stride is taken; where 16x16 is the latent itself, 1.
        """
        wanted = max(1, min(self.native) // 16)
        strides = sorted({s.stride for s in self.of("cross") if s.place != "mid"})
        below = [stride for stride in strides if stride <= wanted]
        return below[-1] if below else strides[0]
