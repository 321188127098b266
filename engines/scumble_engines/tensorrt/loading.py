"""From built bytes to an engine on the device, its weights put in, its ports known."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scumble.errors import EngineError, PortError
from scumble_engines.tensorrt.library import Library, Log, make_log

__all__ = ["Loaded", "Socket", "load"]


@dataclass(frozen=True, slots=True)
class Socket:
    """An input or output of a built engine.

    Attributes:
        name: of the port.
        given: True for an input.
        dtype: in which it is on the device.
        least: smallest shape; of an output, its shape with open axes below 0.
        most: largest shape; likewise.
    """

    name: str
    given: bool
    dtype: np.dtype
    least: tuple[int, ...]
    most: tuple[int, ...]


class Loaded:
    """A graph on the device, ready to be given contexts.

    Args:
        library: that loaded it.
        name: of the graph's file, for messages.
        engine: TensorRT's `ICudaEngine`.
        owners: what must live as long as it does.
        log: what TensorRT said.
    """

    def __init__(
        self, library: Library, name: str, engine: Any, owners: tuple[Any, ...], log: Log
    ) -> None:
        self.name, self.log = name, log
        self._library, self._engine, self._owners = library, engine, owners
        sockets = [self._socket(index) for index in range(engine.num_io_tensors)]
        self.inputs = {one.name: one for one in sockets if one.given}
        self.outputs = {one.name: one for one in sockets if not one.given}
        self._settings, self._kernels = _settings(library, engine)

    @property
    def scratch(self) -> int:
        """Bytes that a context needs to work in, at the largest shapes."""
        return int(self._engine.device_memory_size_v2)

    def context(self) -> Any:
        """Return a new execution context, which has no memory to work in yet.

        Raises:
            EngineError: TensorRT makes none.
        """
        if self._settings is not None:
            context = self._engine.create_execution_context(self._settings)
        else:
            strategy = self._library.api.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self.log.error(f"TensorRT cannot run {self.name}")
        return context

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Check the inputs of a step.

        Raises:
            PortError: one is missing or too many, or has a shape that it was not built for.
        """
        if shapes.keys() != self.inputs.keys():
            wrong = ", ".join(sorted(shapes.keys() ^ self.inputs.keys()))
            raise PortError(f"{self.name} takes {', '.join(self.inputs)}; fed otherwise: {wrong}.")
        for name, shape in shapes.items():
            socket = self.inputs[name]
            fits = len(shape) == len(socket.least) and all(
                low <= size <= high
                for low, size, high in zip(socket.least, shape, socket.most, strict=True)
            )
            if not fits:
                raise PortError(
                    f"port {name!r} has shape {shape}, and {self.name} was built for "
                    f"{_range(socket)}; feed that, or build it anew."
                )

    def _socket(self, index: int) -> Socket:
        engine, api = self._engine, self._library.api
        name = str(engine.get_tensor_name(index))
        if engine.get_tensor_location(name) != api.TensorLocation.DEVICE:
            raise EngineError(
                f"{self.name} wants port {name!r} in the host's memory; export the model anew."
            )
        given = engine.get_tensor_mode(name) == api.TensorIOMode.INPUT
        dtype = np.dtype(api.nptype(engine.get_tensor_dtype(name)))
        least = most = tuple(engine.get_tensor_shape(name))
        if given and any(size < 0 for size in least):
            low, _, high = engine.get_tensor_profile_shape(name, 0)
            least, most = tuple(low), tuple(high)
        return Socket(name, given, dtype, least, most)


def load(library: Library, path: Path, data: bytes, stripped: bool) -> Loaded:
    """Return a built engine, deserialized on the calling thread's device.

    Args:
        library: that built it.
        path: the graph that it was built from, whose weights are put in if it is stripped.
        data: the bytes; what is deserialized is code, so they must come from a trusted place.
        stripped: True if they hold no weights.

    Raises:
        EngineError: TensorRT refuses the bytes, or the weights.
    """
    logger, log = make_log(library)
    runtime = library.api.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise log.error(f"TensorRT refuses what was built of {path.name}")
    if stripped:
        _refit(library, engine, path, logger, log)
    return Loaded(library, path.name, engine, (logger, runtime), log)


def _refit(library: Library, engine: Any, path: Path, logger: Any, log: Log) -> None:
    """Put the weights of a graph in: the parser finds them, then the device takes them."""
    refitter = library.api.Refitter(engine, logger)
    parser = library.api.OnnxParserRefitter(refitter, logger)
    if not parser.refit_from_file(str(path)):
        raise log.error(f"TensorRT cannot put the weights of {path.name} in")
    missing = list(refitter.get_missing_weights())
    if missing:
        raise EngineError(
            f"{path.name} lacks weights that its built engine wants, {missing[0]!r} among them; "
            "build it anew."
        )
    if not refitter.refit_cuda_engine():
        raise log.error(f"TensorRT cannot put the weights of {path.name} in")


def _settings(library: Library, engine: Any) -> tuple[Any, Any]:
    """Return how contexts are to be made, and the kernels compiled for them, which it refers to.

    None and None where TensorRT has no such objects.

    tensorrt_rtx compiles kernels for the shapes that it meets, by default in the background while
    slower ones run: a graph that is captured then would keep those. The compiled kernels of one
    engine are shared by its contexts.
    """
    api = library.api
    if not hasattr(engine, "create_runtime_config"):
        return None, None
    settings = engine.create_runtime_config()
    settings.set_execution_context_allocation_strategy(
        api.ExecutionContextAllocationStrategy.USER_MANAGED
    )
    if hasattr(settings, "dynamic_shapes_kernel_specialization_strategy"):
        eager = api.DynamicShapesKernelSpecializationStrategy.EAGER
        settings.dynamic_shapes_kernel_specialization_strategy = eager
    kernels = None
    if hasattr(settings, "create_runtime_cache"):
        kernels = settings.create_runtime_cache()
        settings.set_runtime_cache(kernels)
    return settings, kernels


def _range(socket: Socket) -> str:
    sides = (
        str(low) if low == high else f"{low} to {high}"
        for low, high in zip(socket.least, socket.most, strict=True)
    )
    return f"({', '.join(sides)})"
