"""FLOPs and bytes of an ONNX graph, counted from its operators and their shapes.

Weights are not loaded: their shapes stand in the graph. Local functions are put in place of their
calls first, so that an operator inside counts once for each call.
"""

# onnx leaves parts of its classes untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, inliner, numpy_helper, shape_inference

from scumble.errors import ModelError
from scumble_bench.latency.limits.operators import COUNTED, Shape

__all__ = ["GraphCost", "count", "count_file"]

QUANTISED = frozenset({"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv", "Einsum"})
"""Operators that multiply matrices and are not counted: a graph with one is refused."""


@dataclass(frozen=True, slots=True)
class GraphCost:
    """What one run of a graph asks for.

    Attributes:
        flops: of all counted operators.
        by_operator: likewise, by operator.
        weights: bytes of the weights, each read once.
        arguments: bytes of inputs and outputs.
    """

    flops: int
    by_operator: Mapping[str, int]
    weights: int
    arguments: int

    @property
    def bytes(self) -> int:
        """What has to be moved at least: weights, inputs and outputs once each."""
        return self.weights + self.arguments


def count_file(path: Path, rows: int) -> GraphCost:
    """Return the cost of a pack's graph for a batch of so many rows; weights are not read.

    Raises:
        ModelError: a shape that cannot be told, or an operator that is not counted.
    """
    return count(onnx.load(str(path), load_external_data=False), rows)


def count(model: ModelProto, rows: int) -> GraphCost:
    """Return the cost of a model for a batch of so many rows.

    Args:
        model: with or without its weights' content.
        rows: what the axis `rows` is; `rows + 1`, of a replayed source, is one more.

    Raises:
        ModelError: a shape that cannot be told, or an operator that is not counted.
    """
    # A copy: the axes of the given one stay open.
    fixed = ModelProto()
    fixed.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    for value in fixed.graph.input:
        _fix_rows(value.type.tensor_type, rows)
    fixed = _inferred(fixed)
    shapes = _shapes(fixed)
    found: Counter[str] = Counter()
    for node in fixed.graph.node:
        if node.op_type in QUANTISED or any(_subgraph(a) for a in node.attribute):
            raise ModelError(
                f"the graph has a {node.op_type}, whose FLOPs are not counted; export it anew."
            )
        if node.op_type in COUNTED:
            given = [_shape(shapes, name, node.name) for name in node.input]
            out = _shape(shapes, node.output[0], node.name)
            integers = {a.name: a.i for a in node.attribute if a.type == onnx.AttributeProto.INT}
            found[node.op_type] += COUNTED[node.op_type](given, out, integers)
    used = {name for node in fixed.graph.node for name in node.input}
    weights = sum(_bytes(w.data_type, w.dims) for w in fixed.graph.initializer if w.name in used)
    own = {w.name for w in fixed.graph.initializer}
    ports = [v for v in (*fixed.graph.input, *fixed.graph.output) if v.name not in own]
    arguments = sum(
        _bytes(v.type.tensor_type.elem_type, _shape(shapes, v.name, "an end of the graph"))
        for v in ports
    )
    return GraphCost(sum(found.values()), dict(found), weights, arguments)


def _fix_rows(tensor: onnx.TypeProto.Tensor, rows: int) -> None:
    """Set what the open axes of an input are."""
    for axis in tensor.shape.dim:
        if axis.dim_param:
            symbol = axis.dim_param.replace(" ", "")
            known = {"rows": rows, "rows+1": rows + 1, "addressable": rows + 1}
            if symbol not in known:
                raise ModelError(f"axis {symbol!r} of the graph is not the rows; nothing says it.")
            axis.dim_value = known[symbol]


def _inferred(model: ModelProto) -> ModelProto:
    """Return a model with the shapes of all that it computes.

    onnx's inference does not follow a number from a `Shape` through a `Slice`; a `Shape` of known
    shape is a constant, and as one it does.
    """
    while True:
        model = shape_inference.infer_shapes(model, data_prop=True)
        shapes = _shapes(model)
        solved = {
            node.output[0]: _measured(node, shapes[node.input[0]])
            for node in model.graph.node
            if node.op_type == "Shape" and node.input[0] in shapes
        }
        if not solved:
            return model
        kept = [n for n in model.graph.node if not (n.op_type == "Shape" and n.output[0] in solved)]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.array(sides, np.int64), name)
            for name, sides in solved.items()
        )


def _measured(node: onnx.NodeProto, shape: Shape) -> Shape:
    """Return what a `Shape` gives: all sides, or those from `start` to `end`."""
    bounds = {attribute.name: attribute.i for attribute in node.attribute}
    return shape[bounds.get("start", 0) : bounds.get("end", len(shape))]


def _shapes(model: ModelProto) -> dict[str, Shape]:
    """Return the known shapes of values, by name."""
    graph = model.graph
    found = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            found.setdefault(value.name, tuple(d.dim_value for d in tensor.shape.dim))
    return found


def _shape(shapes: Mapping[str, Shape], name: str, where: str) -> Shape:
    if not name:  # an input that is left out
        return ()
    if name not in shapes:
        raise ModelError(
            f"the shape of {name!r} at {where} cannot be told; the graph is uncounted."
        )
    return shapes[name]


def _subgraph(attribute: onnx.AttributeProto) -> bool:
    return attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _bytes(kind: int, shape: Iterable[int]) -> int:
    return prod(shape) * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
