"""The part of the CUDA driver that a runner needs, by ctypes: no package, no torch.

Neither TensorRT's wheels nor Scumble bring a CUDA runtime, and a GPU that works has a driver, so
that is what is spoken to. The device's primary context is used, which every other library in the
process shares. All work goes to one stream.

Functions and numbers are those of `cuda.h`, CUDA 12 and 13.
"""

import ctypes
import sys
from collections import deque
from collections.abc import Callable
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

import numpy as np

from scumble.arrays import Array
from scumble.errors import EngineError, OutOfMemoryError

__all__ = ["Device", "load_driver", "open_device"]

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
NON_BLOCKING = 1  # CUstream_flags
THREAD_LOCAL = 1  # CUstreamCaptureMode: what other threads do does not end a capture
OUT_OF_MEMORY = 2  # CUresult

SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
}
"""Function -> types of its arguments; each returns a CUresult."""


def load_driver() -> Any | None:
    """Return the driver's library with its functions typed, or None where there is none."""
    try:
        driver = ctypes.CDLL(LIBRARY)
        for name, arguments in SIGNATURES.items():
            function = getattr(driver, name)
            function.argtypes, function.restype = arguments, c_int
    except (OSError, AttributeError):
        return None
    return driver


def open_device(number: int) -> "Device | None":
    """Return a GPU, or None where there is no driver or no GPU of that number."""
    driver = load_driver()
    count = c_int()
    if driver is None or driver.cuInit(0) or driver.cuDeviceGetCount(byref(count)):
        return None
    return Device(driver, number) if number < count.value else None


class Device:
    """One GPU: memory, one stream, and graphs captured from it.

    Args:
        driver: as `load_driver` returns it, initialised.
        number: of the GPU.

    Attributes:
        number: of the GPU.
        name: as the driver calls it.
        capability: (major, minor).
        stream: handle of the stream, for TensorRT.
    """

    def __init__(self, driver: Any, number: int) -> None:
        self._driver, self.number = driver, number
        self._held: set[int] = set()
        self._discarded: deque[int] = deque()
        device, context, stream = c_int(), c_void_p(), c_void_p()
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGet", byref(device), number)
        self._device = device.value
        self._call("cuDeviceGetName", name, len(name), self._device)
        self.name = name.value.decode(errors="replace")
        self.capability = (self._attribute(CAPABILITY_MAJOR), self._attribute(CAPABILITY_MINOR))
        self._call("cuDevicePrimaryCtxRetain", byref(context), self._device)
        self._context = context.value
        self.activate()
        self._call("cuStreamCreate", byref(stream), NON_BLOCKING)
        self.stream = int(stream.value or 0)

    def activate(self) -> None:
        """Make this device the calling thread's own, as TensorRT expects it to be."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Return the address of new memory of so many bytes, aligned to 256."""
        self.sweep()
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), max(size, 1))
        self._held.add(address.value)
        return address.value

    def discard(self, address: int) -> None:
        """Have memory freed by and by; can be called in any thread and after `close`."""
        self._discarded.append(address)

    def sweep(self) -> None:
        """Free what was discarded, once nothing uses it.

        Not when it is discarded: that can be in the middle of a capture, which forbids it, or in
        a thread that has another device.
        """
        gone = {self._discarded.popleft() for _ in range(len(self._discarded))} & self._held
        if gone:
            self.synchronize()
        self._held -= gone
        for address in gone:
            self._call("cuMemFree_v2", address)

    def upload(self, address: int, array: Array) -> None:
        """Copy a contiguous array to the device; it may be changed afterwards."""
        self._call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.stream)

    def download(self, address: int, shape: tuple[int, ...], dtype: np.dtype) -> Array:
        """Return an array of the device, once everything before it is done."""
        array = np.empty(shape, dtype)
        self._call("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self.stream)
        self.synchronize()
        return array

    def copy(self, to: int, start: int, size: int) -> None:
        """Copy bytes on the device."""
        self._call("cuMemcpyDtoDAsync_v2", to, start, size, self.stream)

    def synchronize(self) -> None:
        """Wait until everything is done."""
        self._call("cuStreamSynchronize", self.stream)

    def capture(self, work: Callable[[], None]) -> int:
        """Return a graph of what `work` puts on the stream; none of it is done yet.

        Raises:
            EngineError: it does something that cannot be captured.
        """
        graph, ready = c_void_p(), c_void_p()
        self._call("cuStreamBeginCapture_v2", self.stream, THREAD_LOCAL)
        try:
            work()
        except BaseException:
            # Else the stream would stay in capture; the first error is the one to tell.
            self._driver.cuStreamEndCapture(self.stream, byref(graph))
            raise
        self._call("cuStreamEndCapture", self.stream, byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", byref(ready), graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        return int(ready.value or 0)

    def launch(self, graph: int) -> None:
        """Put a captured graph on the stream."""
        self._call("cuGraphLaunch", graph, self.stream)

    def drop(self, graph: int) -> None:
        """Free a captured graph, once it is done."""
        self.synchronize()
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Give the device back, with all memory that was allocated here."""
        self.activate()
        self._discarded.extend(self._held)
        self.sweep()
        self._call("cuStreamDestroy_v2", self.stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _attribute(self, which: int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), which, self._device)
        return value.value

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._driver, name)(*arguments)
        if not code:
            return
        text = c_char_p()
        self._driver.cuGetErrorString(code, byref(text))
        reason = text.value.decode() if text.value else f"error {code}"
        if code == OUT_OF_MEMORY:
            raise OutOfMemoryError(
                "the GPU has too little free memory; close what else uses it, or edit fewer "
                "targets in one run."
            )
        raise EngineError(f"CUDA refuses {name} on GPU {self._device}: {reason}.")
