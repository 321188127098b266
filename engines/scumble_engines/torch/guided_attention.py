"""Attention on the way to a gradient: of one row, which attends from itself or from the source.

What comes from the replayed source is constant, and kept apart from what is derived: rows that were
chosen by index out of one array would cost their derivative twice, and the derivative of a gather
adds rows up in parallel, which ONNX Runtime does in a racy way and TensorRT refuses.
"""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from scumble.sites import Site
from scumble_engines.torch.controls import Controls
from scumble_engines.torch.kernels import (
    at_least_fp32,
    attend,
    heads,
    linear,
    probabilities,
    times_values,
)

__all__ = ["guided"]


def guided(
    attn: Attention, site: Site, hidden: Tensor, text: Tensor | None, controls: Controls
) -> Tensor:
    """Return a site's attention, (1, heads, cells, depth), under its route or mix.

    Behind the last site whose maps the loss sees, this does not return.

    Args:
        attn: the module.
        site: where it is.
        hidden: (1, cells, channels).
        text: (1, tokens, width) of a cross-attention, else None.
        controls: of the gradient: routes, mixes, a replayed source and a loss are in force.
    """
    source = controls.source[f"source.{site.path}"]
    controls.visited.append(("replay", site.path))
    if text is None:
        return _self(attn, site, hidden, source, controls)
    return _cross(attn, site, hidden, source, text, controls)


def _self(
    attn: Attention, site: Site, hidden: Tensor, source: Tensor, controls: Controls
) -> Tensor:
    assert controls.route is not None
    q, k, v = (
        _chosen(_both(attn, to, hidden, source), row)
        for to, row in zip(
            (attn.to_q, attn.to_k, attn.to_v), controls.route[site.index], strict=True
        )
    )
    controls.visited.append(("route", site.path))
    return _attended(attn, q, k, v, controls)


def _cross(
    attn: Attention,
    site: Site,
    hidden: Tensor,
    source: Tensor,
    text: Tensor,
    controls: Controls,
) -> Tensor:
    assert controls.source_text is not None
    assert controls.mix_row is not None
    assert controls.losses is not None
    queries = _both(attn, attn.to_q, hidden, source)
    keys = _both(attn, attn.to_k, text, controls.source_text)
    v = heads(attn, linear(attn.to_v)(text))
    their_q, their_k = (_chosen(pair, controls.mix_row) for pair in (queries, keys))
    matrix, own = controls.mix(site)
    controls.visited.append(("mix", site.path))
    if site.index in controls.losses.sites:
        maps = probabilities(their_q, their_k, matrix.dtype) @ matrix[:, None]
        maps = maps + probabilities(queries[0], keys[0], matrix.dtype) * own[:, None, None]
        controls.losses.see(site, maps)
        controls.visited.append(("loss", site.path))
        if site.index == max(controls.losses.sites):
            controls.losses.end()
        return times_values(maps, v)
    mixed = times_values(matrix[:, None], v)
    scaled = (own[:, None, :, None] * v.to(own.dtype)).to(v.dtype)
    theirs = _attended(attn, their_q, their_k, mixed, controls)
    return theirs + _attended(attn, queries[0], keys[0], scaled, controls)


def _both(
    attn: Attention, to: nn.Module | None, own: Tensor, source: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a projection of the row and of the source, each (1, heads, cells, depth)."""
    return heads(attn, linear(to)(own)), heads(attn, linear(to)(source))


def _chosen(pair: tuple[Tensor, Tensor], row: Tensor) -> Tensor:
    """Return the row's own part, or the source's where a row index is 1."""
    own, source = pair
    return torch.where(row.reshape(1, 1, 1, 1) == 1, source, own)


def _attended(attn: Attention, q: Tensor, k: Tensor, v: Tensor, controls: Controls) -> Tensor:
    """Return softmax(Q K) V, by operators that have derivatives elsewhere if that is asked for."""
    if controls.fused:
        return attend(attn, q, k, v)
    wide = at_least_fp32(q.dtype) if attn.upcast_attention else q.dtype
    return times_values(probabilities(q, k, wide), v)
