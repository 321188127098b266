"""The installed TensorRT, and fakes of it and of the CUDA driver."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest

from scumble.errors import EngineError
from scumble.packs import Manifest, read_manifest
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.library import Library, find_library

FAKES = run_path(str(Path(__file__).with_name("fakes.py")))


@pytest.fixture(scope="session")
def library() -> Library:
    """The TensorRT that is installed."""
    try:
        return find_library()
    except EngineError:
        pytest.skip("needs tensorrt or tensorrt_rtx")


@pytest.fixture(scope="session")
def manifest(pack: Path) -> Manifest:
    """The tiny pack's manifest."""
    return read_manifest(pack)


@pytest.fixture
def driver() -> Any:
    """A CUDA driver with one GPU, of capability 8.9."""
    return FAKES["FakeDriver"]()


@pytest.fixture
def device(driver: Any) -> Device:
    """The GPU of that driver."""
    return Device(driver, 0)


@pytest.fixture
def fake(driver: Any) -> Library:
    """A tensorrt_rtx that runs on that driver."""
    return Library("tensorrt_rtx", "1.7.1", FAKES["FakeApi"](driver))


@pytest.fixture
def fake_tensorrt(driver: Any) -> Library:
    """A tensorrt that runs on that driver."""
    return Library("tensorrt", "10.12.0", FAKES["FakeApi"](driver, rtx=False))


@pytest.fixture(scope="session")
def plan() -> Callable[..., bytes]:
    """Makes what a fake TensorRT takes for a built engine, of a graph and its rows."""
    return FAKES["plan"]


@pytest.fixture(scope="session")
def make_driver() -> Callable[..., Any]:
    """Makes CUDA drivers."""
    return FAKES["FakeDriver"]


@pytest.fixture(scope="session")
def one_sentence() -> Callable[[pytest.ExceptionInfo[BaseException]], str]:
    """Returns an error's text, once it is one sentence."""

    def check(error: pytest.ExceptionInfo[BaseException]) -> str:
        text = str(error.value)
        assert text.endswith(".")
        assert ". " not in text
        assert "\n" not in text
        return text

    return check
