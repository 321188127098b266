"""FLOPs of single operators, by their shapes; a multiplication and an addition are two.

Counted is what multiplies matrices: MatMul, Gemm, Conv, ConvTranspose and Attention. All else
(normalisations, activations, softmax) is a few operations a number, and is left out, as
`torch.utils.flop_counter` leaves it out.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

__all__ = ["COUNTED", "Shape"]

Shape = tuple[int, ...]


def _matmul(given: Sequence[Shape], out: Shape, attributes: Mapping[str, int]) -> int:
    inner = given[0][-1]
    return 2 * prod(out) * inner


def _gemm(given: Sequence[Shape], out: Shape, attributes: Mapping[str, int]) -> int:
    rows, columns = given[0]
    return 2 * prod(out) * (rows if attributes.get("transA") else columns)


def _conv(given: Sequence[Shape], out: Shape, attributes: Mapping[str, int]) -> int:
    # (channels out, channels in / groups, *kernel): what each number of the output sums over.
    return 2 * prod(out) * prod(given[1][1:])


def _conv_transpose(given: Sequence[Shape], out: Shape, attributes: Mapping[str, int]) -> int:
    # (channels in, channels out / groups, *kernel): where each number of the input goes.
    return 2 * prod(given[0]) * prod(given[1][1:])


def _attention(given: Sequence[Shape], out: Shape, attributes: Mapping[str, int]) -> int:
    """Q K^T and P V; of (rows, heads, length, width), or (rows, length, heads * width) packed."""
    query, key, value = given[:3]
    rows, queries, keys = query[0], query[-2], key[-2]
    if len(given) > 4 and given[4]:  # keys of earlier calls stand before those given
        keys += given[4][-2]
    if len(query) == 4:
        wide, deep = query[1] * query[3], query[1] * value[3]
    else:
        # Heads that share a key or value are multiplied one by one all the same.
        shared = attributes["q_num_heads"] // attributes["kv_num_heads"]
        wide, deep = query[2], value[2] * shared
    return 2 * rows * queries * keys * (wide + deep)


COUNTED: Mapping[str, Callable[[Sequence[Shape], Shape, Mapping[str, int]], int]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Attention": _attention,
}
"""Operator -> its FLOPs, from the shapes of its inputs, of its first output, and its integers."""
