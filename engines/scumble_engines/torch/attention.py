"""Attention with ports: route, mix, region, read, record and replay on fused attention.

One processor class serves every attention module of a UNet. It reads what the current step asks
from a shared `Controls`, and builds a probability map only where one is read. The exporter traces
this same module.
"""

from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from scumble.sites import Site

__all__ = ["ControlBus", "Controls", "PortProcessor", "read_gate"]

# exp(-100) vanishes beside any attended key, and 100 is still exact enough in half precision.
FORBID = 100.0


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
    record_row: Tensor | None = None
    source_text: Tensor | None = None
    source: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
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
        if controls.route is not None:
            index = controls.route[self.site.index]
            q, k, v = (
                q.index_select(0, index[0]),
                k.index_select(0, index[1]),
                v.index_select(0, index[2]),
            )
            controls.visited.append(("route", self.site.path))
        elif pool is not hidden:
            q, k, v = q[:rows], k[:rows], v[:rows]
        if controls.region_sites is None:
            return _attend(attn, q, k, v)
        return self._in_regions(attn, q, k, v, controls)

    def _in_regions(
        self, attn: Attention, q: Tensor, k: Tensor, v: Tensor, controls: Controls
    ) -> Tensor:
        """Attend within regions: -FORBID on a logit where query and key masks differ.

        The penalty m_k (2 m_q - 1) - m_q is of rank two, so it rides on two more channels of
        Q and K; the heads are padded to a multiple of eight, which fused kernels ask for.
        """
        assert controls.region_query is not None
        assert controls.region_key is not None
        assert controls.region_sites is not None
        rows, heads, cells, depth = q.shape
        stride, scale = self.site.stride, depth**-0.5
        gate = controls.region_sites[self.site.index] * (FORBID / scale)
        m_query = controls.region_query[:, ::stride, ::stride].flatten(1)
        m_key = controls.region_key[:, ::stride, ::stride].flatten(1)
        extra_q = torch.stack([2 * m_query - 1, -m_query], dim=-1) * gate[:, None, None]
        extra_k = torch.stack([m_key, torch.ones_like(m_key)], dim=-1)
        padding = (0, -(depth + 2) % 8)

        def widen(heads_in: Tensor, extra: Tensor) -> Tensor:
            shared = extra.to(heads_in.dtype)[:, None].expand(rows, heads, cells, 2)
            return F.pad(torch.cat([heads_in, shared], dim=-1), padding)

        q, k = widen(q, extra_q), widen(k, extra_k)
        v = F.pad(v, (0, q.shape[-1] - depth))
        controls.visited.append(("region", self.site.path))
        return _attend(attn, q, k, v, scale)[..., :depth]

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
            return _attend(attn, q[:rows], k[:rows], v[:rows])
        matrix, own, source = mix
        controls.visited.append(("mix", self.site.path))
        mixed = _values(matrix[:, None], v[:rows])
        scaled = (own[:, None, :, None] * v[:rows].to(own.dtype)).to(v.dtype)
        theirs = _attend(attn, q.index_select(0, source), k.index_select(0, source), mixed)
        return theirs + _attend(attn, q[:rows], k[:rows], scaled)

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
            seen = _look(q, k, weights)
        else:
            matrix, scale, source = mix
            rows = matrix.shape[0]
            own = torch.cat([weights[:rows] * scale[..., None], weights[rows:]])
            theirs = _look(q.index_select(0, source), k.index_select(0, source),
                           _values(matrix, weights[:rows]))  # fmt: skip
            seen = _look(q, k, own)
            seen = torch.cat([seen[:rows] + theirs, seen[rows:]])
        grid = self.site.grid(controls.latent)
        maps = seen.transpose(1, 2).unflatten(2, grid)
        maps = maps * controls.read_gate[self.site.index]
        known = controls.reads.get(self.site.stride)
        controls.reads[self.site.stride] = maps if known is None else known + maps
        controls.visited.append(("read", self.site.path))


def _attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Return softmax(Q K) V, (rows, heads, cells, depth), in the dtype of the values.

    Torch's kernels hold the scores in fp32 whatever they are given. The operator of an ONNX graph
    holds them as wide as Q and K: where a model asks for more (`upcast_attention`, as SD 2.1 does,
    whose scores exceed fp16), a graph is given more.
    """
    dtype = v.dtype
    if attn.upcast_attention and torch.onnx.is_in_onnx_export():
        wide = _at_least_fp32(dtype)
        q, k, v = q.to(wide), k.to(wide), v.to(wide)
    return F.scaled_dot_product_attention(q, k, v, scale=scale).to(dtype)


def read_gate(sites: Tensor | None) -> Tensor | None:
    """Return `read.sites` over its sum; zeros where nothing is chosen."""
    return None if sites is None else sites / sites.sum().clamp(min=1)


def _linear(module: nn.Module | None) -> nn.Module:
    """Return a projection that every site of these UNets has."""
    assert module is not None
    return module


def _at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """Return fp64 for fp64, else fp32; `torch.promote_types` would be traced, as an operator."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _values(matrix: Tensor, values: Tensor) -> Tensor:
    """Return S.V in the matrix's precision, which is fp32 where values are half."""
    return (matrix @ values.to(matrix.dtype)).to(values.dtype)


def _look(q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
    """Return A.w averaged over heads, (rows, cells, words), for weights (rows, tokens, words).

    In the weights' precision, which is fp32 at least: a score rounded to half is a probability a
    few percent off, and some models' scores exceed fp16.

    Written out and not fused: where words separate, maps are small, and this costs less than an
    attention whose values are the weights. TensorRT could not take that at all: its attention wants
    values as wide as keys, and TensorRT-RTX 1.7.1 crashes on two that share a query or a key. In
    fp16 it also crashes if the keys are multiplied as they are, so both sides are scaled.
    """
    root = q.shape[-1] ** -0.25
    scores = (q.to(weights.dtype) * root) @ (k.to(weights.dtype) * root).transpose(-1, -2)
    return scores.softmax(-1).mean(1) @ weights
