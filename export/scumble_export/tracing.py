"""A module becomes an ONNX graph: traced, as declared, nameless, and equal to torch."""

import contextlib
import itertools
import logging
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes import common
from onnxscript import optimizer
from torch import fx, nn

from scumble.arrays import Array
from scumble.errors import ModelError
from scumble.packs import PackPrecision
from scumble_engines.torch.ported import PortedUNet
from scumble_export.graph import ROWS, Axis, Declaration, as_tensors
from scumble_export.norms import exact_norms

__all__ = [
    "TOLERANCE",
    "GraphRun",
    "computed",
    "distance",
    "forget_origin",
    "parity",
    "require_declared",
    "traced",
]

TOLERANCE: dict[PackPrecision, float] = {"fp32": 1e-5, "fp16": 5e-3}
"""Largest difference to torch in fp32, relative to the largest value, that a graph may have."""


def traced(
    module: nn.Module,
    examples: dict[str, Array],
    dynamic: tuple[dict[int, str], ...],
    inputs: list[str],
    outputs: list[str],
    opset: int,
) -> ir.Model:
    """Return a module's graph, its weights still the module's own.

    Args:
        module: in evaluation.
        examples: name -> input to trace with, no dynamic axis of size 1.
        dynamic: axis -> its name, for each input; `rows + 1` is one more than `rows`.
        inputs: names in order.
        outputs: names in order.
        opset: of the graph.
    """
    named = {name for axes in dynamic for name in axes.values()}
    open_axes: dict[str, Any] = {}
    for name in sorted(named, key=len):
        base, plus, _ = name.partition(" + 1")
        open_axes.setdefault(base, torch.export.Dim(base, min=1, max=ROWS[1]))
        if plus:
            open_axes[name] = open_axes[base] + 1
    shapes: Any = tuple({axis: open_axes[n] for axis, n in axes.items()} for axes in dynamic)
    # `forward` takes *inputs, so that one module serves every declaration.
    if isinstance(module, PortedUNet):
        shapes = (shapes,)
    # The exporter's rewriting takes time that grows with the square of the nodes, of which a graph
    # with its derivatives has thousands; it finds little there.
    rewritten = not isinstance(module, fx.GraphModule)
    with torch.no_grad(), exact_norms(opset), _hushed():
        program = torch.onnx.export(
            module,
            as_tensors(examples),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
            optimize=rewritten,
        )
    assert program is not None
    model = cast("ir.Model", program.model)
    return model if rewritten else _cleared(model)


def _cleared(model: ir.Model) -> ir.Model:
    """Return a graph without what is constant, twice there or unused."""
    common.InlinePass()(model)
    optimizer.fold_constants(model)
    ir.passes.Sequential(
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.DeduplicateInitializersPass(),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedFunctionsPass(),
        common.RemoveUnusedOpsetsPass(),
        common.OutputFixPass(),
        common.NameFixPass(),
    )(model)
    return model


@contextlib.contextmanager
def _hushed() -> Generator[None]:
    """Keep what the exporter says of itself off the terminal, and off stdout whatever it says."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its own deprecations, none of them ours
            yield
    finally:
        log.setLevel(level)


def forget_origin(message: Any) -> None:
    """Clear notes and stack traces, which name files of this machine, at every depth."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None and field.name != "initializer":
            for inner in value if field.is_repeated else (value,):
                forget_origin(inner)
    if isinstance(message, onnx.GraphProto):
        for tensor in message.initializer:
            tensor.ClearField("doc_string")
            tensor.ClearField("metadata_props")


def require_declared(model: onnx.ModelProto, declaration: Declaration) -> None:
    """Raise ModelError if the graph's inputs or outputs differ in name, axis or dtype."""
    for values, declared in (
        (model.graph.input, declaration.taken),
        (model.graph.output, declaration.given),
    ):
        wanted = [(name, axes, dtype) for name, (axes, dtype) in declared.items()]
        pairs = itertools.zip_longest(map(_described, values), wanted)
        first = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if first is not None:
            raise ModelError(
                f"the {declaration.name} graph differs from its declaration: "
                f"{first[0] or 'nothing'} instead of {first[1] or 'nothing'}."
            )


def _described(value: onnx.ValueInfoProto) -> tuple[str, tuple[Axis, ...], np.dtype]:
    kind = value.type.tensor_type
    axes = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    return value.name, axes, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))


class GraphRun:
    """A written graph, to be run and compared.

    Args:
        path: of the graph; its weights lie beside it.
    """

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.name = path.name
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Return the outputs in order."""
        return cast("list[Array]", self._session.run(None, dict(inputs)))


def computed(module: nn.Module, inputs: Mapping[str, Array]) -> list[Array]:
    """Return what torch makes of the inputs of a graph."""
    with torch.no_grad():
        outputs = module(*as_tensors(inputs))
    return [t.numpy() for t in (outputs if isinstance(outputs, tuple) else (outputs,))]


def distance(found: Sequence[Array], wanted: Sequence[Array]) -> float:
    """Return the largest difference of outputs, each relative to its largest value."""
    each = [
        float(np.abs(mine.astype(np.float32) - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(found, wanted, strict=True)
    ]
    return float(np.max(each))  # and not `max`, which passes over NaN


def parity(
    graph: GraphRun,
    cases: Sequence[tuple[Mapping[str, Array], Sequence[Array]]],
    tolerance: float = TOLERANCE["fp32"],
) -> tuple[float, list[list[Array]]]:
    """Return the largest difference of a graph to torch, and what the graph made of each case.

    Args:
        graph: as written.
        cases: (inputs, what torch in fp32 made of them).
        tolerance: beyond which the graph is refused.

    Raises:
        ModelError: it differs by more, or by NaN.
    """
    found = [graph(inputs) for inputs, _ in cases]
    each = [distance(mine, wanted) for mine, (_, wanted) in zip(found, cases, strict=True)]
    worst = float(np.max(each))
    if not worst <= tolerance:
        raise ModelError(
            f"{graph.name} differs from torch by {worst:.1e} of the largest value, more than "
            f"{tolerance:.0e}; the pack was not written."
        )
    return worst, found
