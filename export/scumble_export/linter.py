"""A graph is held against what a runtime is known to refuse or to get wrong, before it is run."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from scumble_export.lint_rules import OPSETS, RULES, RUNTIMES, Runtime, Values, attribute
from scumble_export.weights import WEIGHTS

__all__ = ["RUNTIMES", "Finding", "Runtime", "lint"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One node that a runtime is known to refuse or to get wrong.

    Attributes:
        runtime: which.
        node: its name, or that of its first output where it has none.
        op: its operator.
        reason: what is wrong and what to do, as the end of a sentence.
    """

    runtime: Runtime
    node: str
    op: str
    reason: str

    def __str__(self) -> str:
        return f"{self.runtime}: {self.op} {self.node!r} {self.reason}."


def lint(model: ModelProto, runtime: Runtime) -> list[Finding]:
    """Return what a runtime is known to refuse or to get wrong in a graph; none is no promise.

    Args:
        model: its large weights outside of it, so that its shapes can be inferred; numbers that
            are outside are not looked at.
        runtime: one of `RUNTIMES`.
    """
    oldest, newest = OPSETS[runtime]
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    findings: list[Finding] = []
    if not oldest <= opset <= newest:
        reason = f"is of opset {opset} and {oldest} to {newest} are read; use --opset 21"
        findings.append(Finding(runtime, model.graph.name, "graph", reason))
    inside = (node for function in model.functions for node in function.node)
    for tensor in (*model.graph.initializer, *_tensors((*model.graph.node, *inside))):
        if tensor.data_location == TensorProto.EXTERNAL and _place(tensor) != WEIGHTS:
            reason = f"is kept in {_place(tensor)!r}, and a pack keeps all in {WEIGHTS}"
            findings.append(Finding(runtime, tensor.name, "tensor", reason))
    inferred = onnx.shape_inference.infer_shapes(model)
    values = Values()
    nodes = list(_nodes(inferred.graph, values))
    nodes += [node for function in inferred.functions for node in function.node]
    known = {(function.domain, function.name) for function in inferred.functions}
    for node in nodes:
        name = node.name or next(iter(node.output), "")
        if not _in_known_domain(node, runtime) and (node.domain, node.op_type) not in known:
            reason = f"is of the domain {node.domain!r}, of which nothing is promised"
            findings.append(Finding(runtime, name, node.op_type, reason))
        findings += [
            Finding(runtime, name, node.op_type, rule.reason)
            for rule in RULES
            if runtime in rule.runtimes
            and (rule.ops is None or node.op_type in rule.ops)
            and rule.breaks(node, values)
        ]
    return findings


def _tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yield every tensor that nodes hold as attributes, or in the graphs within them."""
    for node in nodes:
        for held in node.attribute:
            yield from (*held.tensors, *([held.t] if held.HasField("t") else ()))
        for inner in _inner(node):
            yield from inner.initializer
            yield from _tensors(inner.node)


def _inner(node: NodeProto) -> list[GraphProto]:
    """Return the graphs within a node."""
    return [
        graph
        for held in node.attribute
        for graph in (*held.graphs, *([held.g] if held.HasField("g") else ()))
    ]


def _place(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _in_known_domain(node: NodeProto, runtime: Runtime) -> bool:
    return node.domain in ("", "ai.onnx") or (
        (runtime, node.domain) == ("onnxruntime", "com.microsoft")
    )


def _nodes(graph: GraphProto, values: Values) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of the graphs within it; note what is known of values."""
    for info in (*graph.input, *graph.value_info, *graph.output):
        kind = info.type.tensor_type
        if kind.elem_type:
            values.types[info.name] = kind.elem_type
        if kind.HasField("shape"):
            values.shapes[info.name] = tuple(
                d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim
            )
    for tensor in graph.initializer:
        values.types[tensor.name] = tensor.data_type
        values.shapes[tensor.name] = tuple(tensor.dims)
        values.constants[tensor.name] = _numbers(tensor)
        values.held.add(tensor.name)
    for node in graph.node:
        yield node
        given = [name for name in node.input if name]
        if node.op_type == "Constant":
            tensor = attribute(node, "value")
            values.constants[node.output[0]] = None if tensor is None else _numbers(tensor)
            values.held.add(node.output[0])
        elif given and all(name in values.constants for name in given):
            values.constants |= dict.fromkeys(node.output)
        for inner in _inner(node):
            yield from _nodes(inner, values)


def _numbers(tensor: TensorProto) -> np.ndarray | None:
    outside = tensor.data_location == TensorProto.EXTERNAL
    return None if outside else numpy_helper.to_array(tensor)
