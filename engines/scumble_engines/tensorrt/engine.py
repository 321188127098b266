"""The TensorRT engine: a pack's graphs, built for the GPU at hand and kept in the cache.

A graph is built when it is first needed, or ahead of time by `scumble build`, also on a machine
without a GPU.
"""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np

from scumble.arrays import Array
from scumble.built import BuiltCache
from scumble.engine import EngineSettings, Mode
from scumble.errors import EngineError
from scumble.pack_engine import PackEngine
from scumble.packs import Manifest
from scumble.ports import CONTROL_GROUPS, Group
from scumble_engines.tensorrt.buffers import DeviceArray
from scumble_engines.tensorrt.cuda import Device, open_device
from scumble_engines.tensorrt.execution import Executions, Value
from scumble_engines.tensorrt.library import Library, find_library, is_installed
from scumble_engines.tensorrt.loading import Loaded, load
from scumble_engines.tensorrt.orders import Order, parts_of
from scumble_engines.tensorrt.profiles import profile_of
from scumble_engines.tensorrt.targets import Target, target_of
from scumble_engines.tensorrt.worker import build_apart

__all__ = ["TensorRTEngine"]


class TensorRTEngine(PackEngine):
    """Runs a pack with TensorRT or TensorRT-RTX, on an NVIDIA GPU."""

    name: ClassVar[str] = "tensorrt"
    # Without the runtime it has none, so that it is not offered to who needs some.
    groups: ClassVar[frozenset[Group]] = frozenset(
        (*CONTROL_GROUPS, "loss") if is_installed() else ()
    )
    modes: ClassVar[frozenset[Mode]] = frozenset(("eager", "graph"))

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._library: Library | None = None
        self._device: Device | None = None
        self._executions: Executions | None = None
        self._loaded: dict[str, Loaded] = {}

    @property
    def provenance(self) -> dict[str, str]:
        """Version, GPU, precision, and what could not be captured as a CUDA graph."""
        library, device, executions = self._ready()
        uncaptured = "; ".join(f"not {n}: {why}" for n, why in executions.uncaptured.items())
        captured = "on" if self.settings.mode == "graph" else "off"
        return {
            "engine": self.name,
            library.name: library.version,
            "device": device.name,
            "precision": self.manifest.precision,
            "cuda_graphs": uncaptured or captured,
        }

    def to_host(self, handle: object) -> Array:
        """Return a handle's content as an array, to be kept elsewhere."""
        _, device, _ = self._ready()
        device.activate()
        return cast("DeviceArray", handle).numpy()

    def to_handle(self, array: Array) -> object:
        """Return a handle of what `to_host` gave, on the device."""
        _, device, _ = self._ready()
        device.activate()
        handle = DeviceArray(device, array.shape, array.dtype)
        handle.fill(array)
        return handle

    def trim(self) -> None:
        """Free the graphs and what they work in; each is loaded anew when it is needed."""
        _, device, executions = self._ready()
        device.activate()
        executions.close()
        self._loaded.clear()

    def _open(self, folder: Path, manifest: Manifest) -> None:
        """Take the device; graphs are loaded when they are first needed."""
        kind, _, number = self.settings.device.partition(":")
        if kind == "cpu":
            raise EngineError(
                "the tensorrt engine runs on GPUs alone; use device 'cuda', or engine "
                "'onnxruntime', which runs this pack on the CPU."
            )
        self._device = open_device(int(number or 0))
        if self._device is None:
            raise EngineError(
                f"the tensorrt engine needs an NVIDIA GPU with a working driver and finds no GPU "
                f"{number or 0}; `scumble build` builds here what runs elsewhere, and engine "
                "'onnxruntime' runs this pack on the CPU."
            )
        self._library = find_library()
        self._executions = Executions(self._device, self.settings.mode == "graph")

    def _shut(self) -> None:
        # In this order: TensorRT frees its memory on a device that is still there.
        if self._executions is not None:
            self._executions.close()
        self._executions = None
        self._loaded.clear()
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _run(self, file: str, feed: Mapping[str, object]) -> dict[str, object]:
        _, device, executions = self._ready()
        device.activate()
        if file not in self._loaded:
            self._loaded[file] = self._load_graph(file)
        made: list[dict[str, object]] = []
        for piece in self._pieces(file, cast("Any", feed)):
            outputs = executions.run(self._loaded[file], piece)
            made.append({name: _kept(name, array) for name, array in outputs.items()})
        if len(made) == 1:
            return made[0]
        return {n: np.concatenate([cast("Array", one[n]) for one in made]) for n in made[0]}

    def _pieces(self, file: str, feed: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
        """Yield what a graph is fed; a component in turns, as many at once as it was built for."""
        part = self._part(file)
        count = next(iter(feed.values())).shape[0]
        most = profile_of(self.manifest, part).most
        if part not in self.manifest.components or count <= most:
            yield dict(feed)
            return
        for start in range(0, count, most):
            yield {n: cast("Array", value)[start : start + most] for n, value in feed.items()}

    def _part(self, file: str) -> str:
        return next(name for name, own in parts_of(self.manifest).items() if own == file)

    def _ready(self) -> tuple[Library, Device, Executions]:
        if self._library is None or self._device is None or self._executions is None:
            raise EngineError(f"the {self.name} engine has no pack; call load first.")
        return self._library, self._device, self._executions

    def _load_graph(self, file: str) -> Loaded:
        """Return a graph on the device: from the cache, or built now and kept there."""
        library, device, _ = self._ready()
        part = self._part(file)
        cache, target = BuiltCache(), target_of(library, device)
        # Without its weights it is a few megabytes; with them is how other machines build it.
        orders = [self._order(part, target, stripped) for stripped in (True, False)]
        for order in orders:
            notes: list[str] = []
            data = cache.get(order.key(library), notes)
            _warn(*notes)
            if data is None:
                continue
            try:
                return load(library, order.path, data, order.stripped)
            except EngineError as error:
                # Another driver may refuse what an older one took: it is built once more.
                _warn(cache.reject(order.key(library), f"was refused ({error})"))
        order = orders[0]
        made = cache.get_or_build(
            order.key(library), lambda: build_apart(library, order, device.number)
        )
        _warn(*made.notes)
        return load(library, order.path, made.data, order.stripped)

    def _order(self, part: str, target: Target, stripped: bool) -> Order:
        return Order(self.folder, self.manifest, part, target, stripped)


def _kept(name: str, array: DeviceArray) -> object:
    """Return an output that outlives the next run: recorded state on the device, else float32."""
    if name.startswith("source."):
        return array.copy()
    return array.numpy().astype(np.float32, copy=False)


def _warn(*notes: str) -> None:
    for note in notes:
        if note:
            warnings.warn(note, stacklevel=2)
