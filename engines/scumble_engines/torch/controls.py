"""What one step asks of the attention, and what its sites note: shared by all processors."""

from dataclasses import dataclass, field
from typing import NoReturn, Protocol

from torch import Tensor

from scumble.sites import Site

__all__ = ["ControlBus", "Controls", "SeesMaps", "read_gate"]


class SeesMaps(Protocol):
    """A loss on the maps of some cross-attentions."""

    sites: frozenset[int]

    def see(self, site: Site, maps: Tensor) -> None:
        """Take a site's (rows, heads, cells, tokens) maps, after any mix."""
        ...

    def end(self) -> NoReturn:
        """Leave the UNet behind the last of them."""
        ...


@dataclass(slots=True)
class Controls:
    """What one step asks of the attention; None is off. Axes as declared in `scumble.ports`.

    `read_gate` is `read.sites` over its sum, so that gated maps add up to their mean; `read_sites`
    are the sites worth computing, which a traced graph cannot know: there it is all of a stride.
    `fused` is of gradients alone: whether attention whose maps no one sees may be torch's own.
    """

    latent: tuple[int, int] = (0, 0)
    route: Tensor | None = None
    mix_source: Tensor | None = None
    mix_own: Tensor | None = None
    mix_row: Tensor | None = None
    mix_sites: Tensor | None = None
    read_weights: Tensor | None = None
    read_gate: Tensor | None = None
    read_sites: frozenset[int] = frozenset()
    feature_route: Tensor | None = None
    region_query: Tensor | None = None
    region_key: Tensor | None = None
    region_sites: Tensor | None = None
    join_row: Tensor | None = None
    join_sites: Tensor | None = None
    record_row: Tensor | None = None
    source_text: Tensor | None = None
    source: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    losses: SeesMaps | None = None
    fused: bool = True
    # What the step gives back.
    reads: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    recorded: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    visited: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def mix(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return S (rows, tokens, tokens) and d (rows, tokens) at a cross-attention."""
        assert self.mix_sites is not None
        assert self.mix_source is not None
        assert self.mix_own is not None
        gate = self.mix_sites[site.index][:, None]
        return self.mix_source * gate[..., None], self.mix_own * gate + (1 - gate)


class ControlBus:
    """What every processor of a UNet shares.

    An object and not a list: a tracer copies lists that it finds on modules.

    Attributes:
        controls: of the step that runs.
        visits: what the last step's sites applied.
        sites: path of every attention site, in execution order.
    """

    def __init__(self) -> None:
        self.controls = Controls()
        self.visits: tuple[tuple[str, str], ...] = ()
        self.sites: tuple[str, ...] = ()


def read_gate(sites: Tensor | None) -> Tensor | None:
    """Return `read.sites` over its sum; zeros where nothing is chosen."""
    return None if sites is None else sites / sites.sum().clamp(min=1)
