"""A module that ends with a gradient becomes one plain graph, forward and backward in one.

`torch.export` cannot follow `torch.autograd.grad`; a functional trace can. What the trace finds is
put into operators that ONNX has, in forms that runtimes compute well.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from scumble.arrays import Array
from scumble_export.graph import as_tensors

__all__ = ["differentiated"]

aten = torch.ops.aten


def differentiated(module: nn.Module, examples: Mapping[str, Array]) -> fx.GraphModule:
    """Return a module's graph, with the derivatives that its `forward` takes written out.

    Args:
        module: in evaluation; its `forward` may call `torch.autograd.grad`, but not with
            `create_graph`, and uses no fused attention, whose derivative only torch knows.
        examples: name -> input, in order; every shape is fixed to theirs.
    """
    for weight in module.parameters():
        weight.requires_grad_(False)
    graph = make_fx(
        module,
        decomposition_table=_decompositions(),
        tracing_mode="fake",
        _allow_non_fake_inputs=True,
    )(*as_tensors(examples))
    _merge_views(graph.graph)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph.eval()


def _merge_views(graph: fx.Graph) -> None:
    """Let a view of a view be one of what both show, and none where that has the shape already.

    Every linear layer leaves two in a row in each direction, and runtimes merge none of them.
    """
    for node in graph.find_nodes(op="call_function", target=aten.view.default):
        shown = node.args[0]
        while shown.target == aten.view.default:
            shown = shown.args[0]
        if shown.meta["val"].shape == node.meta["val"].shape:
            node.replace_all_uses_with(shown)
        else:
            node.replace_input_with(node.args[0], shown)


def _decompositions() -> dict[Any, Callable[..., Any]]:
    known = cast("dict[Any, Callable[..., Any]]", core_aten_decompositions())
    # ONNX has an operator for it; taken apart it would be a gather.
    kept = (aten.upsample_nearest2d.default, aten.upsample_nearest2d.vec)
    return {
        **{name: way for name, way in known.items() if name not in kept},
        aten.convolution_backward.default: _convolution_backward,
        aten.upsample_nearest2d_backward.default: _upsample_nearest2d_backward,
        aten.native_group_norm.default: _group_norm,
        aten.native_group_norm_backward.default: _group_norm_backward,
        aten.native_layer_norm.default: _layer_norm,
        aten.native_layer_norm_backward.default: _layer_norm_backward,
    }


def _convolution_backward(
    grad: Tensor,
    given: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Return the derivative by the input alone, as a convolution.

    With stride 1 it is the convolution with the kernel turned by half a turn, which runtimes
    compute faster than a transposed one; with others it is the transposed convolution.
    """
    del bias_sizes, output_padding
    assert not transposed
    assert list(wanted) == [True, False, False]
    sizes = weight.shape[2:]
    if groups == 1 and all(step == 1 for step in stride):
        turned = weight.flip((2, 3)).transpose(0, 1)
        around = [d * (n - 1) - p for d, n, p in zip(dilation, sizes, padding, strict=True)]
        kept = [1, 1], around, list(dilation), False, [0, 0], 1
        return aten.convolution(grad, turned, None, *kept), None, None
    reached = [
        (out - 1) * step - 2 * pad + d * (n - 1) + 1
        for out, step, pad, d, n in zip(
            grad.shape[2:], stride, padding, dilation, sizes, strict=True
        )
    ]
    missing = [size - r for size, r in zip(given.shape[2:], reached, strict=True)]
    shape = list(stride), list(padding), list(dilation), True, missing, groups
    return aten.convolution(grad, weight, None, *shape), None, None


def _upsample_nearest2d_backward(
    grad: Tensor,
    output_size: Sequence[int],
    input_size: Sequence[int],
    scales_h: float | None = None,
    scales_w: float | None = None,
) -> Tensor:
    """Return the sum over the cells that each cell was copied to."""
    del scales_h, scales_w
    rows, channels, height, width = input_size
    tall, wide = (out // size for out, size in zip(output_size, (height, width), strict=True))
    assert (height * tall, width * wide) == tuple(output_size)
    return grad.reshape(rows, channels, height, tall, width, wide).sum((3, 5))


def _group_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    rows: int,
    channels: int,
    cells: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the result, and what its derivative takes: what was normalised, and by how much.

    An operator of torch gives the mean in its second place. All that is done with it is to hand it
    to the derivative, which is ours too, and has to do less with the other.
    """
    del cells
    normed, inverse = _normed(x.reshape(rows, groups, -1), (2,), eps)
    shape = (1, channels, *(1,) * (x.dim() - 2))
    scaled = normed.to(x.dtype).reshape(x.shape) * weight.reshape(shape) + bias.reshape(shape)
    return scaled, normed, inverse


def _group_norm_backward(
    grad: Tensor,
    x: Tensor,
    normed: Tensor,
    inverse: Tensor,
    weight: Tensor,
    rows: int,
    channels: int,
    cells: int,
    groups: int,
    wanted: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Return the derivative by the input alone."""
    del x, rows, cells, groups
    assert list(wanted) == [True, False, False]
    slope = grad * weight.reshape(1, channels, *(1,) * (grad.dim() - 2))
    slope = _normed_backward(slope.reshape(normed.shape), normed, inverse, (2,))
    return slope.reshape(grad.shape), None, None


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Likewise; TensorRT refuses a LayerNormalization that gives more than its output."""
    normed, inverse = _normed(x, _last(shape), eps)
    return normed.to(x.dtype) * weight + bias, normed, inverse


def _layer_norm_backward(
    grad: Tensor,
    x: Tensor,
    shape: Sequence[int],
    normed: Tensor,
    inverse: Tensor,
    weight: Tensor,
    bias: Tensor,
    wanted: Sequence[bool],
) -> tuple[Tensor, None, None]:
    """Return the derivative by the input alone."""
    del x, bias
    assert list(wanted) == [True, False, False]
    return _normed_backward(grad * weight, normed, inverse, _last(shape)), None, None


def _last(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _normed(x: Tensor, axes: tuple[int, ...], eps: float) -> tuple[Tensor, Tensor]:
    """Return (x - mean) / deviation and 1 / deviation, in fp32 at least."""
    wide = x if x.dtype == torch.float64 else x.float()
    off = wide - wide.mean(axes, keepdim=True)
    inverse = ((off * off).mean(axes, keepdim=True) + eps).rsqrt()
    return off * inverse, inverse


def _normed_backward(
    grad: Tensor, normed: Tensor, inverse: Tensor, axes: tuple[int, ...]
) -> Tensor:
    """Return the derivative by x of the sum of grad times `normed`, in the precision of grad."""
    wide = grad.to(normed.dtype)
    along = (wide * normed).mean(axes, keepdim=True)
    return (inverse * (wide - wide.mean(axes, keepdim=True) - normed * along)).to(grad.dtype)
