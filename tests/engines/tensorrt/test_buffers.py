"""Arrays on the device, and memory to work in."""

import gc
from typing import Any

import numpy as np
import pytest

from scumble.errors import PortError
from scumble_engines.tensorrt.buffers import DeviceArray, Scratch
from scumble_engines.tensorrt.cuda import Device


def test_a_hosts_array_is_cast_and_made_contiguous(device: Device):
    given = np.arange(12, dtype=np.float32).reshape(3, 4).T / 7
    array = DeviceArray(device, (4, 3), np.dtype(np.float16))
    array.fill(given)
    assert array.nbytes == 24
    assert np.array_equal(array.numpy(), given.astype(np.float16))


def test_a_copy_keeps_what_was_there(device: Device):
    array = DeviceArray(device, (2,), np.dtype(np.int64))
    array.fill(np.array([1, 2]))
    kept = array.copy()
    array.fill(np.array([3, 4]))
    assert kept.numpy().tolist() == [1, 2]
    assert kept.address != array.address


def test_state_of_another_precision_is_refused(device: Device):
    whole, half = (DeviceArray(device, (2,), np.dtype(kind)) for kind in ("f4", "f2"))
    with pytest.raises(PortError, match="recorded state is float16 and this graph takes float32"):
        whole.fill(half)


def test_an_array_is_freed_with_the_last_reference(driver: Any, device: Device):
    address = DeviceArray(device, (100,), np.dtype(np.float32)).address
    gc.collect()
    kept = DeviceArray(device, (100,), np.dtype(np.float32))
    assert kept.address in driver.memory
    assert address not in set(driver.memory) - {kept.address}
    assert len(driver.memory) == 1


def test_scratch_memory_grows_and_the_smaller_piece_goes_first(driver: Any, device: Device):
    driver.limit = 250
    scratch = Scratch(device)
    scratch.grow(0)
    assert (scratch.address, scratch.size) == (0, 0)
    scratch.grow(100)
    first = scratch.address
    scratch.grow(50)
    assert (scratch.address, scratch.size) == (first, 100)
    scratch.grow(200)
    assert scratch.size == 200
    assert list(driver.memory) == [scratch.address]
