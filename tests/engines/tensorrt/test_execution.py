"""Contexts, arrays and CUDA graphs, on a driver and a TensorRT that are not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from scumble.errors import EngineError, OutOfMemoryError, PortError
from scumble_engines.tensorrt.buffers import DeviceArray
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.execution import Executions
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.loading import Loaded, load

pytestmark = pytest.mark.thorough
Outputs = dict[str, DeviceArray]
Load = Callable[[str], Loaded]


@pytest.fixture
def graph(fake: Library, pack: Path, plan: Callable[..., bytes]) -> Load:
    """Loads a graph of the tiny pack, by file."""
    return lambda file: load(fake, pack / file, plan(pack / file), stripped=False)


def feed(rows: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((rows, 4, 16, 16)).astype(np.float32),
        "timestep": rng.integers(0, 1000, rows),
        "text": rng.standard_normal((rows, 40, 32)).astype(np.float32),
    }


def wanted(path: Path, ports: dict[str, Any]) -> np.ndarray:
    """What ONNX Runtime makes of a graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return np.asarray(session.run(["noise"], ports)[0])


@pytest.mark.parametrize("capturing", [True, False])
def test_every_run_sees_its_own_inputs(
    driver: Any, device: Device, graph: Load, pack: Path, capturing: bool
):
    executions, loaded = Executions(device, capturing), graph("unet.plain.onnx")
    for seed in range(4):
        ports = feed(2, seed)
        found = executions.run(loaded, ports)["noise"].numpy()
        assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))
    # The first one compiles; the second is captured and launched, and so is what follows.
    assert driver.launched == ([9000] * 3 if capturing else [])


def test_each_number_of_rows_has_a_context_arrays_and_a_graph(
    fake: Library, driver: Any, device: Device, graph: Load, pack: Path
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    for _ in range(3):
        for rows in (3, 1, 2):
            ports = feed(rows)
            found = executions.run(loaded, ports)["noise"].numpy()
            assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))
    contexts = fake.api.engines[0].contexts
    assert [context.shapes["sample"][0] for context in contexts] == [3, 1, 2]
    assert len({context.addresses["noise"] for context in contexts}) == 3
    assert driver.launched == [9000, 9001, 9002] * 2


def test_the_longest_unused_gives_way(fake: Library, driver: Any, device: Device, graph: Load):
    executions, loaded = Executions(device, True, most=2), graph("unet.plain.onnx")
    for rows in (1, 1, 2, 2, 1, 3):
        executions.run(loaded, feed(rows))
    assert list(driver.graphs) == [9000]  # of one row; that of two was dropped for three
    held = len(driver.memory)
    for _ in range(3):
        for rows in (1, 2, 3):
            executions.run(loaded, feed(rows))
    assert len(driver.memory) <= held + 4  # arrays that were given up last
    assert len(fake.api.engines[0].contexts) > 3


def test_all_work_in_one_memory_that_grows(
    fake: Library, driver: Any, device: Device, graph: Load, pack: Path
):
    """A graph that was captured before it grew is captured anew."""
    executions, small, large = (
        Executions(device, True),
        graph("unet.plain.onnx"),
        graph("unet.routed.onnx"),
    )
    ports = feed(2)
    for _ in range(2):
        executions.run(small, ports)
    assert list(driver.graphs) == [9000]
    fake.api.engines[1].device_memory_size_v2 = 1 << 20
    routed = {
        **ports,
        "route": np.tile(np.arange(2), (4, 3, 1)),
        "mix.source": np.zeros((2, 40, 40)),
        "mix.own": np.ones((2, 40)),
        "mix.row": np.arange(2),
        "mix.sites": np.zeros((4, 2)),
    }
    executions.run(large, routed)
    first, second = (engine.contexts[0] for engine in fake.api.engines)
    assert second.lent[1] == 1 << 20
    for _ in range(2):
        found = executions.run(small, ports)["noise"].numpy()
        assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))
    assert first.lent == second.lent
    assert len(driver.launched) == 2
    assert driver.launched[0] != driver.launched[1] or len(driver.graphs) == 1


def test_state_of_the_device_is_read_where_it_is(device: Device, graph: Load, pack: Path):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    ports = feed(2)
    text = DeviceArray(device, (2, 40, 32), np.dtype(np.float32))
    text.fill(ports["text"])
    found = executions.run(loaded, {**ports, "text": text})["noise"].numpy()
    assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))


def test_what_cannot_be_captured_runs_as_it_is_and_is_named(
    fake: Library, driver: Any, device: Device, graph: Load, pack: Path
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    ports = feed(1)
    executions.run(loaded, ports)
    fake.api.engines[0].contexts[0].capturable = False
    for _ in range(2):
        found = executions.run(loaded, ports)["noise"].numpy()
        assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))
    assert not driver.launched
    assert executions.uncaptured == {"unet.plain.onnx": "TensorRT says that it cannot be captured"}


def test_a_driver_that_refuses_a_capture_is_not_asked_again(
    driver: Any, device: Device, graph: Load
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    driver.refuses_capture = True
    for _ in range(4):
        executions.run(loaded, feed(1))
    assert driver.calls.count("cuStreamBeginCapture_v2") == 1
    assert "not permitted in a capture" in executions.uncaptured["unet.plain.onnx"]


def test_a_run_that_fails_says_so_and_the_next_one_works(
    fake: Library, device: Device, graph: Load
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    fake.api.engines[0].fails = True
    with pytest.raises(EngineError, match=r"could not run unet\.plain\.onnx"):
        executions.run(loaded, feed(1))
    loaded.log.errors.append("Error Code 2: OutOfMemory (requested 5 bytes)")
    with pytest.raises(OutOfMemoryError, match="requested 5 bytes"):
        executions.run(loaded, feed(1))
    fake.api.engines[0].fails = False
    assert executions.run(loaded, feed(1))["noise"].numpy().shape == (1, 4, 16, 16)


def test_a_shape_that_was_not_built_for_touches_nothing(driver: Any, device: Device, graph: Load):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    with pytest.raises(PortError, match=r"built for \(1 to 8, 4, 16, 16\)"):
        executions.run(loaded, feed(9))
    assert not driver.memory


def test_too_little_memory_leaves_nothing_half_made(
    driver: Any, device: Device, graph: Load, pack: Path
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    driver.limit = 30_000
    with pytest.raises(OutOfMemoryError):
        executions.run(loaded, feed(8))
    driver.limit = 1 << 30
    ports = feed(8)
    found = executions.run(loaded, ports)["noise"].numpy()
    assert np.array_equal(found, wanted(pack / "unet.plain.onnx", ports))


def test_closing_frees_everything_and_it_can_be_used_again(
    driver: Any, device: Device, graph: Load
):
    executions, loaded = Executions(device, True), graph("unet.plain.onnx")
    for _ in range(2):
        executions.run(loaded, feed(2))
    executions.close()
    assert not driver.memory
    assert not driver.graphs
    assert executions.run(loaded, feed(2))["noise"].numpy().shape[0] == 2
