"""Arrays on the device, and the memory that graphs work in."""

import weakref
from math import prod

import numpy as np

from scumble.arrays import Array
from scumble.errors import PortError
from scumble_engines.tensorrt.cuda import Device

__all__ = ["DeviceArray", "Scratch"]


class DeviceArray:
    """An array on the device, freed when nothing refers to it any more.

    Args:
        device: where to make it.
        shape: of the array.
        dtype: of the array.

    Attributes:
        address: where it begins.
        nbytes: its size.
    """

    def __init__(self, device: Device, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.nbytes = prod(shape) * dtype.itemsize
        self.address = device.allocate(self.nbytes)
        self._device = device
        weakref.finalize(self, device.discard, self.address)

    def fill(self, value: "Array | DeviceArray") -> None:
        """Take the content of another array of the same shape; a host's is cast.

        Raises:
            PortError: an array of the device has another dtype.
        """
        if isinstance(value, DeviceArray):
            if value.dtype != self.dtype:
                raise PortError(
                    f"recorded state is {value.dtype} and this graph takes {self.dtype}; record "
                    "it anew, with this pack."
                )
            self._device.copy(self.address, value.address, self.nbytes)
        else:
            self._device.upload(self.address, np.ascontiguousarray(value, self.dtype))

    def numpy(self) -> Array:
        """Return the content, once everything before it is done."""
        return self._device.download(self.address, self.shape, self.dtype)

    def copy(self) -> "DeviceArray":
        """Return a copy that keeps what is here now."""
        other = DeviceArray(self._device, self.shape, self.dtype)
        other.fill(self)
        return other


class Scratch:
    """Memory for what a graph has in between: one piece for all, as one runs after the other.

    Args:
        device: where to take it from.

    Attributes:
        address: where it begins; changes when it grows.
        size: in bytes.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.address = self.size = 0

    def grow(self, size: int) -> None:
        """Have room for a graph that needs so many bytes."""
        if size <= self.size:
            return
        self.release()  # before the larger piece is taken
        self.address, self.size = self._device.allocate(size), size

    def release(self) -> None:
        """Give the memory back."""
        if self.address:
            self._device.discard(self.address)
        self.address = self.size = 0
