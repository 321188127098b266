"""The driver is called rightly; that a real one answers is only known where there is a GPU."""

import ctypes
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scumble.errors import EngineError
from scumble_engines.tensorrt import cuda
from scumble_engines.tensorrt.cuda import SIGNATURES, Device, load_driver, open_device

Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]


def test_a_device_is_described(driver: Any, device: Device):
    assert (device.name, device.capability, device.number) == ("Fake GPU 0", (8, 9), 0)
    assert device.stream == 77
    assert driver.context == 4096


def test_arrays_come_back_as_they_were(device: Device):
    array = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    first, second = (device.allocate(array.nbytes) for _ in range(2))
    device.upload(first, array)
    device.copy(second, first, array.nbytes)
    device.upload(first, np.zeros_like(array))
    assert np.array_equal(device.download(second, (3, 5), array.dtype), array)
    assert not device.download(first, (3, 5), array.dtype).any()


@pytest.mark.parametrize(("gpus", "number", "there"), [(2, 1, True), (1, 1, False), (0, 0, False)])
def test_a_gpu_is_opened_if_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
    make_driver: Callable[..., Any],
    gpus: int,
    number: int,
    there: bool,
):
    monkeypatch.setattr(cuda, "load_driver", lambda: make_driver(gpus))
    found = open_device(number)
    assert (found is not None) == there
    assert found is None or found.name == f"Fake GPU {number}"


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so")
    assert load_driver() is None
    assert open_device(0) is None


def test_a_library_that_lacks_a_function_is_no_driver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cuda, "LIBRARY", None)  # this process itself, which has no cuInit
    assert load_driver() is None


def test_a_driver_is_given_the_types_of_its_functions(
    monkeypatch: pytest.MonkeyPatch, make_driver: Callable[..., Any]
):
    """So that an address of 64 bits is not passed as an int of 32."""

    class Function:
        argtypes: Any = None
        restype: Any = None

    class Driver:
        def __init__(self, name: str) -> None:
            assert name == cuda.LIBRARY
            self.__dict__ |= {name: Function() for name in SIGNATURES}

    monkeypatch.setattr(ctypes, "CDLL", Driver)
    driver = load_driver()
    assert driver is not None
    assert driver.cuMemFree_v2.argtypes == (ctypes.c_uint64,)
    assert {vars(driver)[name].restype for name in SIGNATURES} == {ctypes.c_int}


def test_every_function_that_is_called_has_types(driver: Any, device: Device):
    address = device.allocate(4)
    device.upload(address, np.zeros(1, np.float32))
    device.copy(address, address, 4)
    device.download(address, (1,), np.dtype(np.float32))
    graph = device.capture(lambda: None)
    device.launch(graph)
    device.drop(graph)
    device.close()
    assert set(driver.calls) | {"cuInit", "cuGetErrorString", "cuDeviceGetCount"} == set(SIGNATURES)


def test_too_little_memory_is_one_sentence(driver: Any, device: Device, one_sentence: Sentence):
    driver.limit = 1000
    device.allocate(900)
    with pytest.raises(EngineError, match="too little free memory") as error:
        device.allocate(200)
    one_sentence(error)


def test_what_the_driver_refuses_is_one_sentence(device: Device, one_sentence: Sentence):
    with pytest.raises(EngineError) as error:
        device.copy(1, 2, 3)
    assert "CUDA refuses cuMemcpyDtoDAsync_v2 on GPU 0: invalid argument" in one_sentence(error)


def test_discarded_memory_is_freed_when_more_is_wanted(driver: Any, device: Device):
    address = device.allocate(100)
    device.discard(address)
    device.discard(address)  # twice does no harm
    assert address in driver.memory
    other = device.allocate(100)
    assert list(driver.memory) == [other]


def test_closing_frees_everything(driver: Any, device: Device):
    address = device.allocate(100)
    device.allocate(100)
    device.close()
    assert not driver.memory
    device.discard(address)  # an array that outlives its device
    gc.collect()
    assert driver.context is None


def test_a_capture_does_nothing_until_it_is_launched(driver: Any, device: Device):
    done: list[int] = []
    graph = device.capture(lambda: driver.submit(lambda: done.append(1)))
    assert not done
    device.launch(graph)
    device.launch(graph)
    assert done == [1, 1]
    device.drop(graph)
    assert not driver.graphs


def test_a_capture_that_fails_is_ended(driver: Any, device: Device):
    def fail() -> None:
        raise EngineError("the first one.")

    with pytest.raises(EngineError, match="the first one"):
        device.capture(fail)
    assert driver.capturing is None
    device.synchronize()


def test_a_stream_that_refuses_capture_says_so(driver: Any, device: Device):
    driver.refuses_capture = True
    with pytest.raises(EngineError, match="not permitted in a capture"):
        device.capture(lambda: None)
