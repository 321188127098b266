"""The engine on a GPU and a TensorRT that are not there: what it builds, keeps, loads and gives.

The fakes run the pack's graphs with ONNX Runtime, so results are compared with that engine. That
a real GPU agrees is for `tests/contracts/test_every_engine.py`, where there is one.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.built import BuiltCache
from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.errors import EngineError, OptionError, PortError
from scumble.models import find_checkpoint
from scumble.ports import CONTROL_GROUPS, Group, neutral
from scumble_engines.onnxruntime import OnnxRuntimeEngine
from scumble_engines.tensorrt import TensorRTEngine
from scumble_engines.tensorrt import engine as module
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.orders import Order
from scumble_engines.tensorrt.targets import Target

pytestmark = pytest.mark.thorough
Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]
VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
    "masked": ("route", "mix", "read", "region"),
    "featured": ("route", "feature"),
}


@pytest.fixture
def built(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    driver: Any,
    fake: Library,
    plan: Callable[..., bytes],
) -> list[Order]:
    """What was built, in a cache of the test's own, for a GPU that is not there."""
    orders: list[Order] = []

    def build(library: Library, order: Order, device: int | None) -> bytes:
        assert device == 0
        orders.append(order)
        return plan(order.path, order.profile.counts)

    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(TensorRTEngine, "groups", frozenset(CONTROL_GROUPS))  # as if installed
    monkeypatch.setattr(module, "find_library", lambda: fake)
    monkeypatch.setattr(module, "open_device", lambda number: Device(driver, number))
    monkeypatch.setattr(module, "build_apart", build)
    return orders


@pytest.fixture
def engine(pack: Path, built: list[Order]) -> Iterator[TensorRTEngine]:
    with TensorRTEngine(EngineSettings(mode="graph")) as own:
        own.load(find_checkpoint(pack))
        yield own


@pytest.fixture(scope="module")
def reference(pack: Path) -> Iterator[OnnxRuntimeEngine]:
    with OnnxRuntimeEngine(EngineSettings(device="cpu", threads=1)) as own:
        own.load(find_checkpoint(pack))
        yield own


def ports(engine: Any, groups: tuple[Group, ...], rows: int) -> dict[str, Any]:
    """Ports of groups, far from neutral."""
    rng = np.random.default_rng(rows)
    given: dict[str, Any] = {
        "sample": rng.standard_normal((rows, 4, 16, 16)),
        "timestep": rng.integers(0, 1000, rows),
        "text": rng.standard_normal((rows, 40, 32)),
    }
    for group in groups:
        for name, array in neutral(group, engine.info.sizes((16, 16)), rows).items():
            whole = array.dtype.kind == "i"
            drawn = rng.integers(0, rows, array.shape) if whole else rng.random(array.shape)
            given[name] = drawn.round() if name.startswith("region") else drawn
    if "read" in groups:
        sites = engine.info.sites
        given["read.sites"] = np.zeros(sites.count("cross"))
        given["read.sites"][list(sites.select("cross", strides=(sites.map_stride,)))] = 1
    return given


def same(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max())


# Steps


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_agree_in_every_variant_again_and_again(
    engine: TensorRTEngine, reference: OnnxRuntimeEngine, driver: Any, variant: str
):
    for rows in (3, 1, 3, 8, 3):
        given = ports(engine, VARIANTS[variant], rows)
        found, wanted = engine.step(given), reference.step(given)
        assert same(found.noise, wanted.noise)
        assert found.noise.dtype == np.float32
        assert found.reads.keys() == wanted.reads.keys()
        assert all(same(found.reads[s], wanted.reads[s]) for s in wanted.reads)
        assert found.bound == frozenset(VARIANTS[variant])
    assert len(driver.launched) == 2  # three rows, from the second time on


def test_what_is_recorded_stays_on_the_device_and_is_replayed(
    engine: TensorRTEngine, reference: OnnxRuntimeEngine, driver: Any
):
    alone = ports(engine, (), 2)
    recorded = engine.step({**alone, "record.row": np.array([1])}).recorded
    wanted = reference.step({**alone, "record.row": np.array([1])}).recorded
    engine.step({**alone, "record.row": np.array([0])})  # the same graph, with the same buffers
    assert recorded.keys() == wanted.keys()
    for name, handle in recorded.items():
        assert same(engine.to_host(handle), reference.to_host(wanted[name]))
        assert engine.size_of(handle) == engine.to_host(handle).nbytes
    given = {**ports(engine, ("route",), 2), "source.text": alone["text"][1:]}
    given["route"][..., 0] = 2  # the replayed row
    again = {name: engine.to_handle(engine.to_host(handle)) for name, handle in recorded.items()}
    theirs = reference.step({**given, **wanted}).noise
    downloads = driver.calls.count("cuMemcpyDtoHAsync_v2")
    assert same(engine.step({**given, **recorded}).noise, theirs)
    # Noise and one map leave the device; the state does not.
    assert driver.calls.count("cuMemcpyDtoHAsync_v2") == downloads + 2
    assert same(engine.step({**given, **again}).noise, theirs)


def test_text_and_pictures_agree_however_many(
    engine: TensorRTEngine, reference: OnnxRuntimeEngine, fake: Library
):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (19, 40))
    latents = rng.standard_normal((5, 4, 16, 16)).astype(np.float32)
    pixels = rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    assert same(engine.encode_text(ids).states, reference.encode_text(ids).states)
    assert same(engine.encode_image(pixels), reference.encode_image(pixels))
    assert same(engine.decode(latents), reference.decode(latents))
    most = {e.rows[2]: e for e in fake.api.engines}
    assert sorted(most) == [1, 2, 8]
    assert {c.shapes["latents"][0] for c in most[2].contexts} == {1, 2}


@pytest.mark.parametrize(("mode", "captures"), [("eager", "off"), ("graph", "on")])
def test_graphs_are_captured_in_the_mode_for_it(
    pack: Path, built: list[Order], driver: Any, mode: Any, captures: str
):
    with TensorRTEngine(EngineSettings(mode=mode)) as own:
        own.load(find_checkpoint(pack))
        for _ in range(3):
            own.step(ports(own, (), 2))
        assert own.provenance == {
            "engine": "tensorrt",
            "tensorrt_rtx": "1.7.1",
            "device": "Fake GPU 0",
            "precision": "fp32",
            "cuda_graphs": captures,
        }
    assert bool(driver.launched) == (mode == "graph")


def test_a_graph_that_cannot_be_captured_is_named(engine: TensorRTEngine, driver: Any):
    driver.refuses_capture = True
    for _ in range(2):
        engine.step(ports(engine, (), 2))
    assert engine.provenance["cuda_graphs"].startswith("not unet.plain.onnx: CUDA refuses")


def test_a_whole_edit_agrees(pack: Path, built: list[Order]):
    made = []
    picture = np.random.default_rng(5).integers(0, 256, (32, 32, 3), np.uint8)
    for name in ("tensorrt", "onnxruntime"):
        kind = {"tensorrt": TensorRTEngine, "onnxruntime": OnnxRuntimeEngine}[name]
        with Editor.load(pack, engine=name, threads=1) as editor:
            assert type(editor.session.engine) is kind
            made.append(
                editor.edit(
                    picture, source="a red cat", target="a blue cat", steps=3,
                    options={"blend_words": "cat"},
                )
            )  # fmt: skip
    assert same(made[0].latents[1], made[1].latents[1])
    assert {"plain", "text_encoder", "vae_encoder", "vae_decoder"} < {o.part for o in built}


# What is built


def test_graphs_are_built_when_they_are_needed_and_kept(
    engine: TensorRTEngine, pack: Path, built: list[Order]
):
    assert not built
    for _ in range(2):
        engine.step(ports(engine, (), 2))
    assert [(o.part, o.target.name, o.stripped) for o in built] == [("plain", "sm89", True)]
    with TensorRTEngine() as other:
        other.load(find_checkpoint(pack))
        other.step(ports(other, (), 2))
    assert len(built) == 1


@pytest.mark.parametrize("stripped", [True, False])
def test_what_was_built_elsewhere_is_found(
    engine: TensorRTEngine, fake: Library, built: list[Order], plan: Callable[..., bytes],
    stripped: bool,
):  # fmt: skip
    """With its weights, as machines without a GPU build it, or without them."""
    order = Order(engine.folder, engine.manifest, "plain", Target("sm89"), stripped)
    BuiltCache().get_or_build(order.key(fake), lambda: plan(order.path))
    engine.step(ports(engine, (), 2))
    assert not built
    assert bool(fake.api.steps) == stripped


def test_what_the_runtime_refuses_is_built_once_more_and_said(
    engine: TensorRTEngine, fake: Library, built: list[Order]
):
    order = Order(engine.folder, engine.manifest, "plain", Target("sm89"), stripped=True)
    BuiltCache().get_or_build(order.key(fake), lambda: b"of an older driver")
    with pytest.warns(UserWarning, match="was refused .*another version"):
        found = engine.step(ports(engine, (), 2))
    assert found.noise.shape == (2, 4, 16, 16)
    assert [o.part for o in built] == ["plain"]
    assert BuiltCache().usage().quarantined == 1


def test_what_is_refused_though_it_is_new_is_an_error(
    engine: TensorRTEngine, fake: Library, built: list[Order], one_sentence: Sentence
):
    fake.api.refuses = True
    with pytest.raises(EngineError, match="of another version") as error:
        engine.step(ports(engine, (), 2))
    one_sentence(error)
    assert len(built) == 1


def test_a_cache_that_cannot_be_used_is_said_and_the_step_works(
    engine: TensorRTEngine, built: list[Order], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="SCUMBLE_CACHE_DIR"):
        engine.step(ports(engine, (), 2))
    assert len(built) == 1


# Refusals


@pytest.mark.parametrize("there", [True, False])
def test_it_offers_ports_where_its_runtime_is_installed(there: bool):
    """In a process of its own: what is installed is looked at once."""
    program = """
import sys
from importlib import util
find = util.find_spec
util.find_spec = lambda name: (%s or None) if name.startswith("tensorrt") else find(name)
from scumble.engine import engines_with
print("tensorrt" in engines_with(frozenset({"route"})))
"""
    done = subprocess.run(
        [sys.executable, "-c", program % there], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{there}\n"


def test_no_gpu_is_one_sentence_that_says_what_can_be_done(
    pack: Path, built: list[Order], monkeypatch: pytest.MonkeyPatch, one_sentence: Sentence
):
    monkeypatch.setattr(module, "open_device", lambda number: None)
    with TensorRTEngine() as own, pytest.raises(EngineError) as error:
        own.load(find_checkpoint(pack))
    text = one_sentence(error)
    assert "needs an NVIDIA GPU with a working driver" in text
    assert "`scumble build` builds here what runs elsewhere" in text


def test_no_tensorrt_is_one_sentence_and_the_gpu_is_given_back(
    pack: Path, built: list[Order], driver: Any, monkeypatch: pytest.MonkeyPatch
):
    def missing() -> Library:
        raise EngineError("neither is installed.")

    monkeypatch.setattr(module, "find_library", missing)
    with TensorRTEngine() as own, pytest.raises(EngineError, match="neither is installed"):
        own.load(find_checkpoint(pack))
    assert "cuDevicePrimaryCtxRelease_v2" in driver.calls


def test_the_cpu_is_refused(pack: Path, one_sentence: Sentence):
    with TensorRTEngine(EngineSettings(device="cpu")) as own:
        with pytest.raises(EngineError, match="runs on GPUs alone") as error:
            own.load(find_checkpoint(pack))
        one_sentence(error)
        with pytest.raises(EngineError, match="call load first"):
            own.decode(np.zeros((1, 4, 16, 16), np.float32))


def test_the_numbered_gpu_is_the_one_that_is_used(
    pack: Path, built: list[Order], monkeypatch: pytest.MonkeyPatch
):
    asked: list[int] = []
    monkeypatch.setattr(module, "open_device", lambda number: asked.append(number))
    with TensorRTEngine(EngineSettings(device="cuda:3")) as own, pytest.raises(EngineError):
        own.load(find_checkpoint(pack))
    assert asked == [3]


def test_no_device_is_touched_before_loading(built: list[Order], driver: Any):
    with TensorRTEngine() as own, pytest.raises(EngineError, match="call load first"):
        _ = own.provenance
    assert not driver.calls


def test_other_settings_are_refused(pack: Path, built: list[Order]):
    for settings in (EngineSettings(precision="fp16"), EngineSettings(mode="compile")):
        with TensorRTEngine(settings) as own, pytest.raises(OptionError):
            own.load(find_checkpoint(pack))


def test_too_many_rows_are_refused(engine: TensorRTEngine, built: list[Order]):
    with pytest.raises(PortError, match="9 rows and this pack runs at most 8"):
        engine.step(ports(engine, (), 9))
    assert not built


# Memory


def test_everything_is_given_back(pack: Path, built: list[Order], driver: Any):
    own = TensorRTEngine(EngineSettings(mode="graph"))
    own.load(find_checkpoint(pack))
    kept = own.step({**ports(own, (), 2), "record.row": np.array([0])}).recorded
    for _ in range(2):
        own.step(ports(own, (), 2))
    own.close()
    own.close()
    assert not driver.memory
    assert not driver.graphs
    kept.clear()  # handles may outlive the engine
    with pytest.raises(EngineError, match="call load first"):
        own.step(ports(own, (), 2))


def test_trimming_leaves_recorded_state_and_the_next_step_works(
    engine: TensorRTEngine,
    reference: OnnxRuntimeEngine,
    driver: Any,
    fake: Library,
    built: list[Order],
):
    given = ports(engine, (), 2)
    kept = engine.step({**given, "record.row": np.array([0])}).recorded
    before = len(driver.memory)
    engine.trim()
    assert len(driver.memory) == len(kept) < before
    assert not engine._loaded  # weights are what takes most
    assert same(engine.step(given).noise, reference.step(given).noise)
    assert [order.part for order in built] == ["recording", "plain"]
    engine.step({**given, "record.row": np.array([0])})
    assert len(fake.api.engines) == 3


def test_many_steps_take_the_memory_of_a_few(engine: TensorRTEngine, driver: Any):
    held: list[int] = []
    for turn in range(12):
        given = ports(engine, (), 2 + turn % 3)
        engine.step({**given, "record.row": np.array([0])})
        held.append(len(driver.memory))
    assert max(held[6:]) <= max(held[:6])


def test_nothing_is_warned_of_in_a_plain_run(engine: TensorRTEngine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.step(ports(engine, (), 2))
