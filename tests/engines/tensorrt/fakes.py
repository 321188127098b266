"""A CUDA driver and a TensorRT that are not there, true to what theirs are documented to do.

Device memory is real memory of this process, so wrong addresses and sizes give wrong numbers. A
built engine is the path of its graph, which ONNX Runtime runs; what is captured is run again.
Tests reach this through fixtures.
"""

import ctypes
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime

CAPTURE_FORBIDS, OUT_OF_MEMORY, INVALID = 900, 2, 1


def number(value: Any) -> int:
    """The integer in an argument of a C function."""
    return int(getattr(value, "value", value) or 0)


class FakeDriver:
    """`libcuda`: one stream, and as many GPUs as are wanted.

    Attributes:
        calls: names of the functions that were called.
        memory: address -> bytes.
        limit: bytes in all.
        graphs: handle -> what was captured.
        capturing: what has been captured so far, or None.
    """

    def __init__(self, gpus: int = 1, capability: tuple[int, int] = (8, 9)) -> None:
        self.gpus, self.capability = gpus, capability
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.limit = 1 << 30
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launched: list[int] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.context: int | None = None
        self.refuses_capture = False

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        if name.startswith("cu") and name != "cuGetErrorString":
            object.__getattribute__(self, "calls").append(name)
        return found

    def submit(self, work: Callable[[], None]) -> None:
        """What a kernel launch does."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def holds(self, address: int, size: int) -> bool:
        """Whether so many bytes lie in one piece of memory."""
        return any(start <= address and address + size <= start + len(piece)
                   for start, piece in self.memory.items())  # fmt: skip

    def cuInit(self, flags: int) -> int:
        return 0 if self.gpus else 100

    def cuGetErrorString(self, code: int, text: Any) -> int:
        known = {OUT_OF_MEMORY: b"out of memory", CAPTURE_FORBIDS: b"not permitted in a capture"}
        text._obj.value = known.get(code, b"invalid argument")
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device: Any, which: int) -> int:
        device._obj.value = which
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:
        name.value = f"Fake GPU {device}".encode()
        return 0

    def cuDeviceGetAttribute(self, value: Any, which: int, device: int) -> int:
        value._obj.value = self.capability[which - 75]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> int:
        context._obj.value = 4096 + device
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, device: int) -> int:
        self.context = None
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self.context = number(context)
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 77
        return 0

    def cuStreamDestroy_v2(self, stream: Any) -> int:
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        return CAPTURE_FORBIDS if self.capturing is not None else 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: int) -> int:
        assert number(stream) == 77
        if self.refuses_capture:
            return CAPTURE_FORBIDS
        self.capturing = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        handle = 9000 + len(self.graphs)
        self.graphs[handle] = self.capturing or []
        self.capturing = None
        graph._obj.value = handle
        return 0

    def cuGraphInstantiateWithFlags(self, ready: Any, graph: Any, flags: int) -> int:
        ready._obj.value = number(graph)
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        return 0

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:
        self.launched.append(number(graph))
        for work in self.graphs[number(graph)]:
            work()
        return 0

    def cuGraphExecDestroy(self, graph: Any) -> int:
        del self.graphs[number(graph)]
        return 0

    def cuMemAlloc_v2(self, address: Any, size: int) -> int:
        if sum(len(piece) for piece in self.memory.values()) + size > self.limit:
            return OUT_OF_MEMORY
        piece = ctypes.create_string_buffer(size)
        address._obj.value = ctypes.addressof(piece)
        self.memory[address._obj.value] = piece
        return 0

    def cuMemFree_v2(self, address: int) -> int:
        if self.capturing is not None:
            return CAPTURE_FORBIDS
        return 0 if self.memory.pop(address, None) is not None else INVALID

    def cuMemcpyHtoDAsync_v2(self, to: int, start: Any, size: int, stream: Any) -> int:
        return self._move(to, start, size, to)

    def cuMemcpyDtoHAsync_v2(self, to: Any, start: int, size: int, stream: Any) -> int:
        return self._move(to, start, size, start)

    def cuMemcpyDtoDAsync_v2(self, to: int, start: int, size: int, stream: Any) -> int:
        return self._move(to, start, size, to) if self.holds(start, size) else INVALID

    def _move(self, to: Any, start: Any, size: int, on_device: int) -> int:
        if not self.holds(on_device, size) or self.context is None:
            return INVALID
        ctypes.memmove(number(to), number(start), size)
        return 0


class Context:
    """`IExecutionContext`."""

    def __init__(self, engine: "FakeEngine") -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.lent = (0, 0)
        self.capturable = True

    def set_device_memory(self, address: int, size: int) -> None:
        self.lent = (address, size)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        engine = self.engine
        sizes = {
            axis: size
            for one in engine.session.get_inputs()
            for axis, size in zip(one.shape, self.shapes.get(one.name, ()), strict=False)
            if isinstance(axis, str)
        }
        shape = engine.declared(name)
        return tuple(sizes.get(axis, -1) if isinstance(axis, str) else axis for axis in shape)

    def is_stream_capturable(self, stream: int) -> bool:
        return self.capturable

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        if engine.fails:
            return False
        assert stream == 77
        memory, size = self.lent
        assert size >= engine.device_memory_size_v2
        names = [*engine.inputs, *engine.outputs]
        assert self.addresses.keys() == set(names)
        places = dict(self.addresses)

        def work() -> None:
            assert engine.driver.holds(memory, size), "scratch memory is gone"
            feed = {name: self._view(name, places[name]) for name in engine.inputs}
            found = engine.session.run(list(engine.outputs), feed)
            for name, array in zip(engine.outputs, found, strict=True):
                self._view(name, places[name])[...] = array

        engine.driver.submit(work)
        return True

    def _view(self, name: str, address: int) -> np.ndarray:
        shape = self.shapes.get(name) or self.get_tensor_shape(name)
        dtype = self.engine.dtypes[name]
        size = int(np.prod(shape)) * dtype.itemsize
        assert self.engine.driver.holds(address, size), f"{name} reaches beyond its memory"
        piece = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(memoryview(piece), dtype).reshape(shape)


class FakeEngine:
    """`ICudaEngine`, of a graph that ONNX Runtime runs."""

    def __init__(self, driver: FakeDriver, path: Path, rows: tuple[int, int, int]) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 1
        self.driver, self.rows = driver, rows
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.inputs = {one.name: one for one in self.session.get_inputs()}
        self.outputs = {one.name: one for one in self.session.get_outputs()}
        kinds = {"float": "f4", "float16": "f2", "int64": "i8"}
        self.dtypes = {
            name: np.dtype(kinds[one.type.removeprefix("tensor(").removesuffix(")")])
            for name, one in {**self.inputs, **self.outputs}.items()
        }
        self.num_io_tensors = len(self.dtypes)
        self.device_memory_size_v2 = 4096 + len(str(path))
        self.contexts: list[Context] = []
        self.settings: list[Any] = []
        self.refitted: list[str] = []
        self.location = "device"
        self.fails = False

    def declared(self, name: str) -> list[int | str]:
        return {**self.inputs, **self.outputs}[name].shape

    def get_tensor_name(self, index: int) -> str:
        return [*self.dtypes][index]

    def get_tensor_location(self, name: str) -> str:
        return self.location

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> np.dtype:
        return self.dtypes[name]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(axis, str) else axis for axis in self.declared(name))

    def get_tensor_profile_shape(self, name: str, index: int) -> list[tuple[int, ...]]:
        assert index == 0
        more = {"rows + 1": 1}
        return [
            tuple(rows + more.get(axis, 0) if isinstance(axis, str) else axis
                  for axis in self.declared(name))
            for rows in self.rows
        ]  # fmt: skip

    def create_execution_context(self, settings: Any) -> Context:
        self.settings.append(settings)
        self.contexts.append(Context(self))
        return self.contexts[-1]


class RtxEngine(FakeEngine):
    """An `ICudaEngine` of tensorrt_rtx, which has settings that tensorrt lacks."""

    def create_runtime_config(self) -> Any:
        made = SimpleNamespace(dynamic_shapes_kernel_specialization_strategy="lazy", cache=None)
        made.set_execution_context_allocation_strategy = lambda kind: setattr(made, "kind", kind)
        made.create_runtime_cache = lambda: set[str]()
        # By reference, as C++ does: who made it has to keep it.
        made.set_runtime_cache = lambda cache: setattr(made, "cache", weakref.ref(cache))
        return made


def plan(path: Path, rows: tuple[int, int, int] = (1, 3, 8)) -> bytes:
    """What the fake runtime takes for a built engine."""
    return json.dumps({"path": str(path), "rows": rows}).encode()


class FakeApi(SimpleNamespace):
    """The module `tensorrt_rtx`, as far as a runner needs it; `rtx=False` makes it `tensorrt`.

    Attributes:
        engines: that were deserialized.
        steps: what was asked of refitters, in order.
        missing: weights that a refitter lacks.
        refuses: True refuses every plan, and says why.
    """

    def __init__(self, driver: FakeDriver, rtx: bool = True) -> None:
        super().__init__()
        self.__version__ = "1.7.1" if rtx else "10.12.0"
        self.engines: list[FakeEngine] = []
        self.steps: list[str] = []
        self.missing: list[str] = []
        self.refuses = False
        api, kind = self, RtxEngine if rtx else FakeEngine

        class ILogger:
            INTERNAL_ERROR, ERROR, WARNING = "internal", "error", "warning"

        class Runtime:
            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
                if api.refuses or not data.startswith(b"{"):
                    self.logger.log("warning", "beside the point")
                    self.logger.log("error", "the plan is of another version")
                    return None
                told = json.loads(data)
                api.engines.append(kind(driver, Path(told["path"]), tuple(told["rows"])))
                return api.engines[-1]

        class Refitter:
            def __init__(self, engine: FakeEngine, logger: Any) -> None:
                self.engine, self.weights = engine, False
                api.steps.append("refitter")

            def get_missing_weights(self) -> list[str]:
                api.steps.append("missing?")
                return api.missing

            def refit_cuda_engine(self) -> bool:
                api.steps.append("refit")
                return self.weights

        class OnnxParserRefitter:
            def __init__(self, refitter: Refitter, logger: Any) -> None:
                self.refitter = refitter

            def refit_from_file(self, path: str) -> bool:
                api.steps.append(f"weights of {Path(path).name}")
                self.refitter.weights = Path(path).exists()
                return self.refitter.weights

        self.ILogger, self.Runtime = ILogger, Runtime
        self.Refitter, self.OnnxParserRefitter = Refitter, OnnxParserRefitter
        self.TensorLocation = SimpleNamespace(DEVICE="device", HOST="host")
        self.TensorIOMode = SimpleNamespace(INPUT="input", OUTPUT="output")
        self.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="ours")
        self.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        flags = ["STRIP_PLAN", "REFIT_IDENTICAL", *(["REQUIRE_USER_ALLOCATION"] if rtx else [])]
        self.BuilderFlag = SimpleNamespace(**{flag: flag for flag in flags})
        if rtx:
            members = {"NONE": 0, "CURRENT": 1, "SM89": 2, "SM120": 3}
            self.ComputeCapability = SimpleNamespace(__members__=members, **members)
        self.nptype = lambda dtype: dtype.type
