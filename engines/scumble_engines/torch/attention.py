"""Attention with ports: route, mix, region, join, read, record and replay on fused attention.

One processor class serves every attention module of a UNet. It reads what the current step asks
from a shared `Controls`, and builds a probability map only where one is read. The exporter traces
this same module.
"""

from dataclasses import dataclass, field
from typing import NoReturn, Protocol, cast

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from scumble.sites import Site
from scumble_engines.torch.kernels import (
    Penalty,
    attend,
    attend_where_allowed,
    joined,
    look,
    probabilities,
    region_penalty,
    times_values,
)

__all__ = ["ControlBus", "Controls", "PortProcessor", "read_gate"]


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
    # What the step gives back.
    reads: dict[int, Tensor] = field(default_factory=dict[int, Tensor])
    recorded: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    visited: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


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


class PortProcessor:
    """Attention of one site, under the controls of the step.

    Args:
        site: where this is.
        bus: shared by all processors of a UNet; it holds the controls of the step.
    """

    def __init__(self, site: Site, bus: ControlBus) -> None:
        self.site = site
        self._bus = bus

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Return the site's output, (rows, cells, channels)."""
        controls = self._bus.controls
        controls.visited.append(("site", self.site.path))
        if controls.record_row is not None:
            recorded = hidden_states.index_select(0, controls.record_row)
            controls.recorded[f"source.{self.site.path}"] = recorded
            controls.visited.append(("record", self.site.path))
        if encoder_hidden_states is None:
            out = self._self(attn, hidden_states, controls)
        else:
            out = self._cross(attn, hidden_states, encoder_hidden_states, controls)
        out = out.transpose(1, 2).flatten(2).to(hidden_states.dtype)
        project, dropout = cast("nn.ModuleList", attn.to_out)
        return dropout(project(out))

    def _with_source(self, hidden: Tensor, controls: Controls) -> Tensor:
        """Return (addressable, cells, channels): the rows, and the replayed source after them."""
        source = controls.source.get(f"source.{self.site.path}")
        if source is None:
            return hidden
        controls.visited.append(("replay", self.site.path))
        return torch.cat([hidden, source])

    def _rows(self, pool: Tensor, index: Tensor, controls: Controls) -> Tensor:
        """Return rows of the pool by their index.

        In a gradient each is the row itself or the replayed source, and is chosen: the derivative
        of a gather adds up rows in parallel, which ONNX Runtime does in a racy way and TensorRT
        refuses.
        """
        if controls.losses is None:
            return pool.index_select(0, index)
        rows = index.shape[0]
        beyond = (index == rows).reshape(-1, *(1,) * (pool.dim() - 1))
        return torch.where(beyond, pool[rows:], pool[:rows])

    def _heads(self, attn: Attention, projected: Tensor) -> Tensor:
        """Return (rows, heads, cells, channels / heads)."""
        rows, cells, channels = projected.shape
        return projected.view(rows, cells, attn.heads, channels // attn.heads).transpose(1, 2)

    def _self(self, attn: Attention, hidden: Tensor, controls: Controls) -> Tensor:
        rows = hidden.shape[0]
        pool = self._with_source(hidden, controls)
        q = self._heads(attn, attn.to_q(pool))
        k = self._heads(attn, _linear(attn.to_k)(pool))
        v = self._heads(attn, _linear(attn.to_v)(pool))
        everyone = k, v
        if controls.route is not None:
            index = controls.route[self.site.index]
            q, k, v = (
                self._rows(part, index[slot], controls) for slot, part in enumerate((q, k, v))
            )
            controls.visited.append(("route", self.site.path))
        elif pool is not hidden:
            q, k, v = q[:rows], k[:rows], v[:rows]
        penalties: list[Penalty] = []
        if controls.region_sites is not None:
            assert controls.region_query is not None
            assert controls.region_key is not None
            masks = (controls.region_query, controls.region_key)
            gate = controls.region_sites[self.site.index]
            penalties.append(region_penalty(*masks, gate, self.site.stride))
            controls.visited.append(("region", self.site.path))
        if controls.join_sites is not None:
            assert controls.join_row is not None
            also = [part.index_select(0, controls.join_row) for part in everyone]
            gate = controls.join_sites[self.site.index]
            k, v, penalties = joined((k, v), (also[0], also[1]), gate, penalties)
            controls.visited.append(("join", self.site.path))
        if penalties:
            return attend_where_allowed(attn, q, k, v, penalties)
        return attend(attn, q, k, v)

    def _cross(self, attn: Attention, hidden: Tensor, text: Tensor, controls: Controls) -> Tensor:
        rows = hidden.shape[0]
        pool = self._with_source(hidden, controls)
        if pool is not hidden:
            assert controls.source_text is not None
            text = torch.cat([text, controls.source_text])
        q = self._heads(attn, attn.to_q(pool))
        k = self._heads(attn, _linear(attn.to_k)(text))
        v = self._heads(attn, _linear(attn.to_v)(text))
        mix = self._mix(controls)
        if self.site.index in controls.read_sites:
            self._read(q, k, mix, controls)
        if mix is None:
            return attend(attn, q[:rows], k[:rows], v[:rows])
        matrix, own, source = mix
        controls.visited.append(("mix", self.site.path))
        mixed = times_values(matrix[:, None], v[:rows])
        scaled = (own[:, None, :, None] * v[:rows].to(own.dtype)).to(v.dtype)
        their_q, their_k = (self._rows(part, source, controls) for part in (q, k))
        if controls.losses is not None and self.site.index in controls.losses.sites:
            maps = probabilities(their_q, their_k, matrix.dtype) @ matrix[:, None]
            maps = maps + probabilities(q[:rows], k[:rows], matrix.dtype) * own[:, None, None]
            controls.losses.see(self.site, maps)
            controls.visited.append(("loss", self.site.path))
            if self.site.index == max(controls.losses.sites):
                controls.losses.end()
        theirs = attend(attn, their_q, their_k, mixed)
        return theirs + attend(attn, q[:rows], k[:rows], scaled)

    def _mix(self, controls: Controls) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return S (rows, tokens, tokens), d (rows, tokens) and the source rows at this site."""
        if controls.mix_sites is None:
            return None
        assert controls.mix_source is not None
        assert controls.mix_own is not None
        assert controls.mix_row is not None
        gate = controls.mix_sites[self.site.index][:, None]
        own = controls.mix_own * gate + (1 - gate)
        return controls.mix_source * gate[..., None], own, controls.mix_row

    def _read(
        self, q: Tensor, k: Tensor, mix: tuple[Tensor, Tensor, Tensor] | None, controls: Controls
    ) -> None:
        """Add A.w, (addressable, words, height, width), mean over heads, after any mix."""
        assert controls.read_weights is not None
        assert controls.read_gate is not None
        weights = controls.read_weights.transpose(1, 2)  # (addressable, tokens, words)
        if mix is None:
            seen = look(q, k, weights)
        else:
            matrix, scale, source = mix
            rows = matrix.shape[0]
            own = torch.cat([weights[:rows] * scale[..., None], weights[rows:]])
            theirs = look(q.index_select(0, source), k.index_select(0, source),
                           times_values(matrix, weights[:rows]))  # fmt: skip
            seen = look(q, k, own)
            seen = torch.cat([seen[:rows] + theirs, seen[rows:]])
        grid = self.site.grid(controls.latent)
        maps = seen.transpose(1, 2).unflatten(2, grid)
        maps = maps * controls.read_gate[self.site.index]
        known = controls.reads.get(self.site.stride)
        controls.reads[self.site.stride] = maps if known is None else known + maps
        controls.visited.append(("read", self.site.path))


def read_gate(sites: Tensor | None) -> Tensor | None:
    """Return `read.sites` over its sum; zeros where nothing is chosen."""
    return None if sites is None else sites / sites.sum().clamp(min=1)


def _linear(module: nn.Module | None) -> nn.Module:
    """Return a projection that every site of these UNets has."""
    assert module is not None
    return module
