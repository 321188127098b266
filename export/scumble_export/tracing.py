"""A module becomes an ONNX graph: traced, as declared, nameless, and equal to torch."""

import contextlib
import itertools
import logging
import sys
import warnings
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from scumble.arrays import Array
from scumble.errors import ModelError
from scumble.ports import PortSizes
from scumble_export.graph import ROWS, WORDS, Declaration, PortedUNet, as_tensors

__all__ = ["TOLERANCE", "parity", "require_declared", "traced"]

TOLERANCE = 1e-5
"""Largest difference to torch, relative to the largest value, that a graph in fp32 may have."""


def traced(
    module: nn.Module,
    examples: dict[str, Array],
    dynamic: tuple[dict[int, str], ...],
    inputs: list[str],
    outputs: list[str],
    opset: int,
) -> onnx.ModelProto:
    """Return a module's graph, which says nothing of the machine that made it.

    Args:
        module: in evaluation.
        examples: name -> input to trace with, no dynamic axis of size 1.
        dynamic: axis -> its name, for each input.
        inputs: names in order.
        outputs: names in order.
        opset: of the graph.
    """
    named = {name for axes in dynamic for name in axes.values()}
    rows = {name: torch.export.Dim(name, min=1, max=ROWS[1]) for name in named}
    shapes: Any = tuple({axis: rows[name] for axis, name in axes.items()} for axes in dynamic)
    # `forward` takes *inputs, so that one module serves every declaration.
    if isinstance(module, PortedUNet):
        shapes = (shapes,)
    with torch.no_grad(), _hushed():
        program = torch.onnx.export(
            module,
            as_tensors(examples, torch.float32),
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=outputs,
            verbose=False,
        )
    assert program is not None
    model = cast("onnx.ModelProto", program.model_proto)
    _forget_origin(model)
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


def _forget_origin(message: Any) -> None:
    """Clear notes and stack traces, which name files of this machine, at every depth."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.message_type is not None and field.name != "initializer":
            for inner in value if field.is_repeated else (value,):
                _forget_origin(inner)
    if isinstance(message, onnx.GraphProto):
        for tensor in message.initializer:
            tensor.ClearField("doc_string")
            tensor.ClearField("metadata_props")


def require_declared(model: onnx.ModelProto, declaration: Declaration, sizes: PortSizes) -> None:
    """Raise ModelError if the graph's inputs or outputs differ in name, axis or dtype."""
    kinds = {"float": onnx.TensorProto.FLOAT, "index": onnx.TensorProto.INT64}
    inputs = [(p.name, declaration.shape(p, sizes), kinds[p.dtype]) for p in declaration.inputs]
    channels, height, width = sizes.latent
    outputs = [("noise", ("rows", channels, height, width), kinds["float"])]
    for stride in declaration.strides:
        grid = (-(-height // stride), -(-width // stride))
        outputs.append((f"read.{stride}", ("rows", WORDS, *grid), kinds["float"]))
    for found, wanted in (
        (_described(model.graph.input), inputs),
        (_described(model.graph.output), outputs),
    ):
        pairs = itertools.zip_longest(found, wanted)
        first = next((pair for pair in pairs if pair[0] != pair[1]), None)
        if first is not None:
            raise ModelError(
                f"the {declaration.name} graph differs from its declaration: "
                f"{first[0] or 'nothing'} instead of {first[1] or 'nothing'}."
            )


def _described(
    values: Iterable[onnx.ValueInfoProto],
) -> list[tuple[str, tuple[int | str, ...], int]]:
    return [
        (
            value.name,
            tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim),
            value.type.tensor_type.elem_type,
        )
        for value in values
    ]


def parity(module: nn.Module, path: Path, examples: dict[str, Array]) -> float:
    """Return the largest difference of a graph to its module, relative to the largest value."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = cast("list[Array]", session.run(None, examples))
    with torch.no_grad():
        wanted = module(*as_tensors(examples, torch.float32))
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    distances: list[float] = []
    for mine, theirs in zip(found, wanted, strict=True):
        reference = theirs.numpy()
        distances.append(float(np.abs(mine - reference).max() / np.abs(reference).max()))
    worst = float(np.max(distances))  # and not `max`, which passes over NaN
    if not worst <= TOLERANCE:
        raise ModelError(
            f"{path.name} differs from torch by {worst:.1e} of the largest value, more than "
            f"{TOLERANCE:.0e}; the pack was not written."
        )
    return worst
