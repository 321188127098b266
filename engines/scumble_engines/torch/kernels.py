"""What attention computes: fused where it can be, with penalties, and maps where they are read."""

from typing import TypeAlias

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

__all__ = [
    "Penalty",
    "at_least_fp32",
    "attend",
    "attend_where_allowed",
    "heads",
    "joined",
    "linear",
    "look",
    "probabilities",
    "region_penalty",
    "times_values",
]

Penalty: TypeAlias = tuple[Tensor, Tensor]
"""(rows, queries, n) and (rows, keys, n), whose product is -1 where a key is not to be seen."""

# exp(-100) vanishes beside any attended key, and 100 is still exact enough in half precision.
FORBID = 100.0


def heads(attn: Attention, projected: Tensor) -> Tensor:
    """Return (rows, heads, cells, channels / heads) of (rows, cells, channels)."""
    rows, cells, channels = projected.shape
    return projected.view(rows, cells, attn.heads, channels // attn.heads).transpose(1, 2)


def linear(module: nn.Module | None) -> nn.Module:
    """Return a projection that every site of these UNets has."""
    assert module is not None
    return module


def attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Return softmax(Q K) V, (rows, heads, cells, depth), in the dtype of the values.

    Torch's kernels hold the scores in fp32 whatever they are given. The operator of an ONNX graph
    holds them as wide as Q and K: where a model asks for more (`upcast_attention`, as SD 2.1 does,
    whose scores exceed fp16), a graph is given more.
    """
    dtype = v.dtype
    if attn.upcast_attention and torch.onnx.is_in_onnx_export():
        wide = at_least_fp32(dtype)
        q, k, v = q.to(wide), k.to(wide), v.to(wide)
    return F.scaled_dot_product_attention(q, k, v, scale=scale).to(dtype)


def attend_where_allowed(
    attn: Attention, q: Tensor, k: Tensor, v: Tensor, penalties: list[Penalty]
) -> Tensor:
    """Attend with FORBID times the sum of the penalties on each logit.

    A penalty is a sum of products of a (rows, queries, n) and a (rows, keys, n) array, so it rides
    on n more channels of Q and K; heads are padded to a multiple of eight, which fused kernels ask
    for.
    """
    depth = q.shape[-1]
    scale = depth**-0.5
    of_query, of_key = (torch.cat(side, dim=-1) for side in zip(*penalties, strict=True))
    padding = (0, -(depth + of_query.shape[-1]) % 8)

    def widen(heads: Tensor, extra: Tensor) -> Tensor:
        shared = extra.to(heads.dtype)[:, None].expand(*heads.shape[:3], -1)
        return F.pad(torch.cat([heads, shared], dim=-1), padding)

    q, k = widen(q, of_query * (FORBID / scale)), widen(k, of_key)
    v = F.pad(v, (0, q.shape[-1] - depth))
    return attend(attn, q, k, v, scale)[..., :depth]


def region_penalty(query: Tensor, key: Tensor, gate: Tensor, stride: int) -> Penalty:
    """Return -1 where masks of query and key differ: m_k (2 m_q - 1) - m_q.

    Args:
        query: (rows, height, width) mask at latent size.
        key: likewise.
        gate: (rows,) 1 where regions are in force.
        stride: of the site.
    """
    m_query = query[:, ::stride, ::stride].flatten(1)
    m_key = key[:, ::stride, ::stride].flatten(1)
    return (
        torch.stack([2 * m_query - 1, -m_query], dim=-1) * gate[:, None, None],
        torch.stack([m_key, torch.ones_like(m_key)], dim=-1),
    )


def joined(
    own: tuple[Tensor, Tensor], also: tuple[Tensor, Tensor], gate: Tensor, penalties: list[Penalty]
) -> tuple[Tensor, Tensor, list[Penalty]]:
    """Append keys and values, penalised where they are not wanted.

    Args:
        own: K and V, (rows, heads, cells, depth).
        also: those that are appended.
        gate: (rows,) 1 where they are to be seen.
        penalties: on the own keys; the others are beyond any region.
    """
    rows, cells = own[0].shape[0], own[0].shape[2]
    penalties = [(query, F.pad(key, (0, 0, 0, cells))) for query, key in penalties]
    closed = (gate - 1)[:, None, None].expand(rows, cells, 1)
    penalties.append((torch.ones_like(closed), F.pad(closed, (0, 0, cells, 0))))
    k, v = (torch.cat(pair, dim=2) for pair in zip(own, also, strict=True))
    return k, v, penalties


def at_least_fp32(dtype: torch.dtype) -> torch.dtype:
    """Return fp64 for fp64, else fp32; `torch.promote_types` would be traced, as an operator."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def times_values(matrix: Tensor, values: Tensor) -> Tensor:
    """Return S.V in the matrix's precision, which is fp32 where values are half."""
    return (matrix @ values.to(matrix.dtype)).to(values.dtype)


def look(q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
    """Return A.w averaged over heads, (rows, cells, words), for weights (rows, tokens, words).

    In the weights' precision, which is fp32 at least: a score rounded to half is a probability a
    few percent off, and some models' scores exceed fp16.

    Written out and not fused: where words separate, maps are small, and this costs less than an
    attention whose values are the weights. TensorRT could not take that at all: its attention wants
    values as wide as keys, and TensorRT-RTX 1.7.1 crashes on two that share a query or a key.
    """
    return probabilities(q, k, weights.dtype).mean(1) @ weights


def probabilities(q: Tensor, k: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the attention maps, (rows, heads, cells, tokens), computed in a dtype.

    The keys are scaled, and they alone: beside a fused attention of the same queries and keys,
    TensorRT-RTX 1.7.1 crashes in fp16 where keys are multiplied as they are, and builds nothing in
    fp32 where both sides are scaled.
    """
    scaled = k.to(dtype) * q.shape[-1] ** -0.5
    return (q.to(dtype) @ scaled.transpose(-1, -2)).softmax(-1)
