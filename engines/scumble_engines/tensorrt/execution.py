"""Running a graph: one execution for each set of shapes, its second run captured as a CUDA graph.

A context that is given other shapes may change what a graph captured from it relies on, so every
set of shapes, which is to say every number of rows, has a context and arrays of its own.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from scumble.arrays import Array
from scumble.errors import EngineError
from scumble_engines.tensorrt.buffers import DeviceArray, Scratch
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.loading import Loaded

__all__ = ["MOST_EXECUTIONS", "Execution", "Executions", "Value"]

MOST_EXECUTIONS = 16
"""An edit needs four or five: plain at 1, 2 and 3 rows, routed, reading, and the components."""

Value = Array | DeviceArray
Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class Execution:
    """A graph at one set of shapes.

    Args:
        device: where it runs.
        loaded: the graph.
        shapes: of every input.
        scratch: what it works in.
        capturing: True has the second run captured.

    Attributes:
        graph: the captured graph, once there is one.
        refused: why it runs without one, if it cannot be captured.
    """

    def __init__(
        self,
        device: Device,
        loaded: Loaded,
        shapes: Mapping[str, tuple[int, ...]],
        scratch: Scratch,
        capturing: bool,
    ) -> None:
        self._device, self._loaded, self._scratch = device, loaded, scratch
        self._context: Any = loaded.context()
        self._capturing = capturing
        self.graph: int | None = None
        self.refused: str | None = None
        scratch.grow(loaded.scratch)
        self._lend()
        for name, shape in shapes.items():
            self._require(self._context.set_input_shape(name, shape), f"shape of {name}")
        self._inputs = {
            name: DeviceArray(device, shape, loaded.inputs[name].dtype)
            for name, shape in shapes.items()
        }
        self._outputs = {
            name: DeviceArray(device, self._shape(name), socket.dtype)
            for name, socket in loaded.outputs.items()
        }
        for name, array in (*self._inputs.items(), *self._outputs.items()):
            self._require(
                self._context.set_tensor_address(name, array.address), f"address of {name}"
            )

    def run(self, feed: Mapping[str, Value]) -> dict[str, DeviceArray]:
        """Run once, and return the outputs, which the next run overwrites.

        Raises:
            EngineError: TensorRT cannot.
        """
        for name, value in feed.items():
            self._inputs[name].fill(value)
        self._scratch.grow(self._loaded.scratch)
        if self._lent != (self._scratch.address, self._scratch.size):
            self._drop()  # it writes where the memory was
            self._lend()
        if self._capturing and self._runs and self.graph is None and self.refused is None:
            self._capture()
        if self.graph is None:
            self._enqueue()
        else:
            self._device.launch(self.graph)
        self._runs += 1
        return self._outputs

    def close(self) -> None:
        """Free the graph and the context; the arrays go with the last reference to them."""
        self._drop()
        self._context = None

    def _capture(self) -> None:
        able = getattr(self._context, "is_stream_capturable", None)
        if able is not None and not able(self._device.stream):
            self.refused = "TensorRT says that it cannot be captured"
            return
        try:
            self.graph = self._device.capture(self._enqueue)
        except EngineError as error:
            self.refused = str(error)

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._device.stream):
            raise self._loaded.log.error(f"TensorRT could not run {self._loaded.name}")

    def _lend(self) -> None:
        self._runs = 0  # the next one has things to prepare, which are not to be captured
        self._lent = self._scratch.address, self._scratch.size
        self._context.set_device_memory(*self._lent)

    def _drop(self) -> None:
        if self.graph is not None:
            self._device.drop(self.graph)
            self.graph = None

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(self._context.get_tensor_shape(name))
        self._require(all(size >= 0 for size in shape), f"shape of {name}")
        return shape

    def _require(self, done: bool, what: str) -> None:
        if not done:
            raise self._loaded.log.error(f"TensorRT refuses the {what} of {self._loaded.name}")


class Executions:
    """The executions of all graphs, those longest unused given up.

    Args:
        device: where they run.
        capturing: True has their second runs captured.
        most: how many to keep.
    """

    def __init__(self, device: Device, capturing: bool, most: int = MOST_EXECUTIONS) -> None:
        self._device, self._capturing, self._most = device, capturing, most
        self._scratch = Scratch(device)
        self._kept: OrderedDict[tuple[str, Shapes], Execution] = OrderedDict()

    def run(self, loaded: Loaded, feed: Mapping[str, Value]) -> dict[str, DeviceArray]:
        """Run a graph, and return its outputs, which its next run overwrites.

        Raises:
            PortError: an input has a shape that the graph was not built for.
            EngineError: TensorRT cannot.
        """
        self._device.activate()
        shapes = {name: tuple(value.shape) for name, value in feed.items()}
        loaded.check(shapes)
        key = (loaded.name, tuple(sorted(shapes.items())))
        if key not in self._kept:
            while len(self._kept) >= self._most:
                self._kept.popitem(last=False)[1].close()
            self._kept[key] = Execution(
                self._device, loaded, shapes, self._scratch, self._capturing
            )
        self._kept.move_to_end(key)
        return self._kept[key].run(feed)

    @property
    def uncaptured(self) -> dict[str, str]:
        """Graph -> why it runs uncaptured."""
        return {name: e.refused for (name, _), e in self._kept.items() if e.refused is not None}

    def close(self) -> None:
        """Free all of them, and what they work in; others can be made afterwards."""
        while self._kept:
            self._kept.popitem()[1].close()
        self._scratch.release()
        self._device.sweep()
