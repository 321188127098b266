"""Attention with ports: route, mix, region, join, read, record and replay on fused attention.

One processor class serves every attention module of a UNet. It reads what the current step asks
from a shared `Controls`, and builds a probability map only where one is read. The exporter traces
this same module.
"""

from typing import cast

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from scumble.sites import Site
from scumble_engines.torch.controls import ControlBus, Controls
from scumble_engines.torch.guided_attention import guided
from scumble_engines.torch.kernels import (
    Penalty,
    attend,
    attend_where_allowed,
    heads,
    joined,
    linear,
    look,
    region_penalty,
    times_values,
)

__all__ = ["PortProcessor"]


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
        if controls.losses is not None:
            out = guided(attn, self.site, hidden_states, encoder_hidden_states, controls)
        elif encoder_hidden_states is None:
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

    def _self(self, attn: Attention, hidden: Tensor, controls: Controls) -> Tensor:
        rows = hidden.shape[0]
        pool = self._with_source(hidden, controls)
        q, k, v = (heads(attn, linear(to)(pool)) for to in (attn.to_q, attn.to_k, attn.to_v))
        everyone = k, v
        if controls.route is not None:
            index = controls.route[self.site.index]
            q, k, v = (
                part.index_select(0, taken) for part, taken in zip((q, k, v), index, strict=True)
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
        q = heads(attn, attn.to_q(pool))
        k, v = (heads(attn, linear(to)(text)) for to in (attn.to_k, attn.to_v))
        mix = self._mix(controls)
        if self.site.index in controls.read_sites:
            self._read(q, k, mix, controls)
        if mix is None:
            return attend(attn, q[:rows], k[:rows], v[:rows])
        matrix, own, source = mix
        controls.visited.append(("mix", self.site.path))
        mixed = times_values(matrix[:, None], v[:rows])
        scaled = (own[:, None, :, None] * v[:rows].to(own.dtype)).to(v.dtype)
        their_q, their_k = (part.index_select(0, source) for part in (q, k))
        theirs = attend(attn, their_q, their_k, mixed)
        return theirs + attend(attn, q[:rows], k[:rows], scaled)

    def _mix(self, controls: Controls) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return S (rows, tokens, tokens), d (rows, tokens) and the source rows at this site."""
        if controls.mix_sites is None:
            return None
        assert controls.mix_row is not None
        return *controls.mix(self.site), controls.mix_row

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
