"""One graph after another is traced, looked over and written into a pack's folder."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import onnx
from torch import nn

from scumble.arrays import Array
from scumble.errors import ModelError
from scumble_export.graph import Declaration
from scumble_export.linter import RUNTIMES, lint
from scumble_export.probing import require_connected
from scumble_export.slimming import drop_shapes, number_values
from scumble_export.tracing import GraphRun, forget_origin, require_declared, traced
from scumble_export.weights import WeightFile

__all__ = ["GraphWriter"]


class GraphWriter:
    """Writes graphs that share one weight file; use it as a context manager.

    Args:
        folder: of the pack.
        opset: of the graphs.

    Attributes:
        remarks: graph file -> what runtimes other than ONNX Runtime would refuse in it.
    """

    def __init__(self, folder: Path, opset: int) -> None:
        self._folder = folder
        self._opset = opset
        self._weights = WeightFile(folder)
        self.remarks: dict[str, tuple[str, ...]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._weights.close()

    def write(
        self,
        file: str,
        module: nn.Module,
        examples: dict[str, Array],
        dynamic: Sequence[dict[int, str]],
        outputs: Sequence[str],
        declaration: Declaration | None = None,
    ) -> GraphRun:
        """Trace a module and write its graph; return it ready to run.

        Args:
            file: name of the graph.
            module: in evaluation.
            examples: name -> input to trace with, in order.
            dynamic: axis -> its name, for each input.
            outputs: names in order.
            declaration: that the graph has to keep to, if it is a UNet's.

        Raises:
            ModelError: it differs from its declaration, or ONNX Runtime is known to refuse it.
        """
        names = list(examples)
        model = self._weights.take(
            traced(module, examples, tuple(dynamic), names, list(outputs), self._opset)
        )
        if declaration is not None:
            require_declared(model, declaration)
        require_connected(model)
        forget_origin(model)
        number_values(model)
        found = [finding for runtime in RUNTIMES for finding in lint(model, runtime)]
        fatal = next((str(one) for one in found if one.runtime == "onnxruntime"), None)
        if fatal is not None:
            raise ModelError(f"{file} cannot be run: {fatal}")
        if found:
            self.remarks[file] = tuple(map(str, found))
        drop_shapes(model)
        onnx.save_model(model, self._folder / file)
        return GraphRun(self._folder / file)
