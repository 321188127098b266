"""One weight file for all graphs of a pack, addressed by content."""

import hashlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import onnx
import onnx_ir as ir
from onnx import ModelProto, TensorProto, helper

from scumble.arrays import Array

__all__ = ["WEIGHTS", "WeightFile"]

WEIGHTS = "weights.bin"
SMALL = 256
ALIGNMENT = 64


class _Place(NamedTuple):
    """Where an array lies in the file, and whether as halves."""

    offset: int
    length: int
    half: bool


class WeightFile:
    """Collects the initializers of many graphs; equal bytes are stored once.

    Args:
        folder: of the pack; `weights.bin` is written in it.
    """

    def __init__(self, folder: Path) -> None:
        self._file: BinaryIO = (folder / WEIGHTS).open("wb")
        self._known: dict[bytes, _Place] = {}

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def take(self, model: ir.Model) -> ModelProto:
        """Move a graph's initializers into the file, and return the graph without them.

        One initializer at a time is read: a model's weights are never twice in memory. Numbers
        that half precision holds exactly are stored so and cast back in the graph, which runtimes
        do once, when they load it: a checkpoint that was saved in fp16 stays as small.
        """
        halves: set[str] = set()
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            assert tensor is not None
            if tensor.nbytes < SMALL:
                continue
            place = self._place(np.ascontiguousarray(tensor.numpy()))
            if place.half:
                halves.add(name)
            kind = ir.DataType.FLOAT16 if place.half else tensor.dtype
            shape = ir.Shape(tensor.shape.numpy())
            value.const_value = ir.ExternalTensor(
                WEIGHTS, place.offset, place.length, kind, shape=shape, name=name
            )
        self._file.flush()  # the graph is run, and compared, before the next one comes
        proto = ir.to_proto(model)
        _cast_back(proto, halves)
        return proto

    def _place(self, array: Array) -> _Place:
        """Return where an array lies in the file, stored now if it is new."""
        digest = hashlib.sha256(array.data.cast("B")).digest()
        if digest not in self._known:
            half = array.dtype == np.float32 and _halves_exactly(array)
            stored = array.astype(np.float16) if half else array
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._known[digest] = _Place(self._file.tell(), stored.nbytes, half)
            self._file.write(stored.data.cast("B"))
        return self._known[digest]


def _cast_back(proto: ModelProto, halves: set[str]) -> None:
    """Rename the initializers stored in half precision, and cast them to what nodes expect."""
    casts: list[onnx.NodeProto] = []
    for tensor in proto.graph.initializer:
        if tensor.name in halves:
            half = f"{tensor.name}.half"
            casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
            tensor.name = half
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _halves_exactly(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool((array.astype(np.float16).astype(np.float32) == array).all())
