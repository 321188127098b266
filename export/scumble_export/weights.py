"""One weight file for all graphs of a pack, addressed by content."""

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

__all__ = ["WEIGHTS", "WeightFile"]

WEIGHTS = "weights.bin"
SMALL = 256
ALIGNMENT = 64


class WeightFile:
    """Collects the initializers of many graphs; equal bytes are stored once.

    Args:
        folder: of the pack; `weights.bin` is written in it.
    """

    def __init__(self, folder: Path) -> None:
        self._file: BinaryIO = (folder / WEIGHTS).open("wb")
        self._known: dict[bytes, tuple[int, int]] = {}

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._file.tell()

    def take(self, model: ModelProto) -> None:
        """Move a graph's initializers into the file.

        Numbers that half precision holds exactly are stored so and cast back in the graph, which
        runtimes do once, when they load it: a checkpoint that was saved in fp16 stays as small.
        """
        casts: list[onnx.NodeProto] = []
        for tensor in list(model.graph.initializer):
            array = numpy_helper.to_array(tensor)
            if array.nbytes < SMALL:
                continue
            if tensor.data_type == TensorProto.FLOAT and _halves_exactly(array):
                half = f"{tensor.name}.half"
                casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
                tensor.name = half
                tensor.data_type = TensorProto.FLOAT16
                array = array.astype(np.float16)
            self._externalise(tensor, array.tobytes())
        nodes = [*casts, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        self._file.flush()  # the graph is run, and compared, before the next one comes

    def _externalise(self, tensor: TensorProto, data: bytes) -> None:
        offset, length = self._place(data)
        for name in ("raw_data", "float_data", "int32_data", "int64_data", "double_data"):
            tensor.ClearField(name)
        tensor.data_location = TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))

    def _place(self, data: bytes) -> tuple[int, int]:
        digest = hashlib.sha256(data).digest()
        if digest not in self._known:
            self._file.write(b"\0" * (-self._file.tell() % ALIGNMENT))
            self._known[digest] = (self._file.tell(), len(data))
            self._file.write(data)
        return self._known[digest]


def _halves_exactly(array: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        return bool((array.astype(np.float16).astype(np.float32) == array).all())
