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
    """Where an array lies in the file, whether as halves, and which order of axes restores it."""

    offset: int
    length: int
    half: bool
    order: tuple[int, ...] = ()


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
        do once, when they load it: a checkpoint that was saved in fp16 stays as small. So it is
        with a matrix that is there with its axes exchanged: a graph of gradients has matrices both
        ways.
        """
        places: dict[str, _Place] = {}
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            assert tensor is not None
            if tensor.nbytes < SMALL:
                continue
            place = self._place(np.ascontiguousarray(tensor.numpy()))
            places[name] = place
            kind = ir.DataType.FLOAT16 if place.half else tensor.dtype
            sizes = tensor.shape.numpy()
            shape = ir.Shape([sizes[axis] for axis in place.order] or sizes)
            value.const_value = ir.ExternalTensor(
                WEIGHTS, place.offset, place.length, kind, shape=shape, name=name
            )
        self._file.flush()  # the graph is run, and compared, before the next one comes
        proto = ir.to_proto(model)
        _restore(proto, places)
        return proto

    def _place(self, array: Array) -> _Place:
        """Return where an array lies in the file, stored now if it is new."""
        digest = _digest(array)
        if digest in self._known:
            return self._known[digest]
        order = _exchanged(array)
        turned = self._known.get(_digest(array.transpose(order))) if order else None
        if turned is not None:
            return turned._replace(order=order)
        half = array.dtype == np.float32 and _halves_exactly(array)
        stored = array.astype(np.float16) if half else array
        self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
        self._known[digest] = _Place(self._file.tell(), stored.nbytes, half)
        self._file.write(stored.data.cast("B"))
        return self._known[digest]


def _exchanged(array: Array) -> tuple[int, ...]:
    """Return the order of axes that turns a matrix, whatever axes of size 1 it has; else none."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    if len(axes) != 2:
        return ()
    order = list(range(array.ndim))
    order[axes[0]], order[axes[1]] = axes[1], axes[0]
    return tuple(order)


def _digest(array: Array) -> bytes:
    """Return a digest of an array's numbers, whatever its shape."""
    found = hashlib.sha256(array.dtype.str.encode())
    found.update(np.ascontiguousarray(array).data.cast("B"))
    return found.digest()


def _restore(proto: ModelProto, places: dict[str, _Place]) -> None:
    """Give what is stored in another form a name of its own, and nodes what they expect."""
    restoring: list[onnx.NodeProto] = []
    for tensor in proto.graph.initializer:
        place = places.get(tensor.name)
        if place is None or not (place.half or place.order):
            continue
        name, held = tensor.name, f"{tensor.name}.stored"
        tensor.name = held
        if place.half:
            wide = f"{name}.wide" if place.order else name
            restoring.append(helper.make_node("Cast", [held], [wide], to=TensorProto.FLOAT))
            held = wide
        if place.order:
            restoring.append(helper.make_node("Transpose", [held], [name], perm=place.order))
    nodes = [*restoring, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _halves_exactly(array: Array) -> bool:
    with np.errstate(over="ignore"):
        return bool((array.astype(np.float16).astype(np.float32) == array).all())
