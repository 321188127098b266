"""What a graph says and no runtime needs is left out: a UNet's graph is then less than half."""

import itertools
from collections.abc import Iterable

from onnx import AttributeProto, ModelProto, NodeProto

__all__ = ["drop_shapes", "number_values"]


def number_values(model: ModelProto) -> None:
    """Name weights and what nodes compute by number, and take the nodes' own names away.

    Inputs and outputs keep their names. A runtime that reports a node without a name names what it
    computes. A graph within which there are others is left as it is.
    """
    graph = model.graph
    if any(held.HasField("g") or held.graphs for held in _attributes(graph.node)):
        return
    # A node may leave out an input or an output, which then has an empty name.
    known = {"": "", **{value.name: value.name for value in (*graph.input, *graph.output)}}
    free = (name for name in map("{:x}".format, itertools.count()) if name not in known)
    computed = (output for node in graph.node for output in node.output)
    for name in itertools.chain((weight.name for weight in graph.initializer), computed):
        if name not in known:
            known[name] = next(free)
    for weight in graph.initializer:
        weight.name = known[weight.name]
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [known[name] for name in node.input]
        node.output[:] = [known[name] for name in node.output]
    for value in graph.value_info:
        value.name = known.get(value.name, value.name)


def drop_shapes(model: ModelProto) -> None:
    """Forget the shapes of what lies between inputs and outputs; every runtime infers them."""
    model.graph.ClearField("value_info")


def _attributes(nodes: Iterable[NodeProto]) -> Iterable[AttributeProto]:
    return (held for node in nodes for held in node.attribute)
