"""What the onnxruntime engine refuses, what it notices, and that it leaves nothing behind.

That it agrees with torch is in `tests/contracts/test_every_engine.py`.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from scumble.editor import Editor
from scumble.engine import GUIDED, EngineSettings
from scumble.errors import EngineError, ModelError, OptionError, UnsupportedError
from scumble.models import find_checkpoint
from scumble.packs import MANIFEST
from scumble.ports import neutral
from scumble_engines.onnxruntime import OnnxRuntimeEngine
from scumble_engines.onnxruntime import engine as module
from scumble_engines.torch import TorchEngine

pytestmark = pytest.mark.thorough
CPU = EngineSettings(device="cpu", threads=1)


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    return text


@pytest.fixture(scope="module")
def loaded(pack: Path) -> Iterator[OnnxRuntimeEngine]:
    """A loaded engine; not to be changed."""
    with OnnxRuntimeEngine(CPU) as engine:
        engine.load(find_checkpoint(pack))
        yield engine


@pytest.fixture
def engine(pack: Path) -> Iterator[OnnxRuntimeEngine]:
    """A loaded engine of the test's own."""
    with OnnxRuntimeEngine(CPU) as own:
        own.load(find_checkpoint(pack))
        yield own


@pytest.fixture
def copy(pack: Path, tmp_path: Path) -> Path:
    """The pack, to be damaged."""
    return Path(shutil.copytree(pack, tmp_path / "copy"))


def plain(rows: int = 2, latent: tuple[int, int] = (16, 16)) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "sample": rng.standard_normal((rows, 4, *latent)).astype(np.float32),
        "timestep": np.full(rows, 481, np.int64),
        "text": rng.standard_normal((rows, 40, 32)).astype(np.float32),
    }


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Loading


def test_a_diffusers_folder_is_refused(small: Path):
    with OnnxRuntimeEngine() as fresh, pytest.raises(ModelError) as error:
        fresh.load(find_checkpoint(small))
    text = str(error.value)
    assert "is no pack, and the onnxruntime engine runs packs" in text
    assert f"scumble export {small} --out PACK" in text


def test_the_torch_engine_refuses_a_pack(pack: Path):
    with TorchEngine(CPU) as other, pytest.raises(ModelError) as error:
        other.load(find_checkpoint(pack))
    assert "is a pack" in one_sentence(error)
    assert "'onnxruntime'" in one_sentence(error)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp64"])
def test_another_precision_is_refused(pack: Path, precision: Any):
    with OnnxRuntimeEngine(EngineSettings(precision)) as fresh, pytest.raises(OptionError) as error:
        fresh.load(find_checkpoint(pack))
    assert "is made in fp32" in one_sentence(error)


def test_a_changed_graph_is_refused(copy: Path):
    path = copy / "unet.plain.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with OnnxRuntimeEngine(CPU) as fresh, pytest.raises(ModelError, match=r"'unet\.plain\.onnx'"):
        fresh.load(find_checkpoint(copy))


def test_the_model_is_described(loaded: OnnxRuntimeEngine):
    info = loaded.info
    assert (info.channels, info.factor, info.tokens, info.features) == (4, 2, 40, 32)
    assert info.sites.native == (16, 16)
    assert loaded.provenance == {
        "engine": "onnxruntime",
        "onnxruntime": onnxruntime.__version__,
        "device": "CPUExecutionProvider",
        "precision": "fp32",
        "threads": "1",
    }


def test_another_pack_takes_the_place_of_the_first(engine: OnnxRuntimeEngine, copy: Path):
    before = engine.step(plain()).noise
    edit_manifest(copy, variants={"plain": {"file": "vae_decoder.onnx", "groups": [], "parity": 0}})
    engine.load(find_checkpoint(copy))
    with pytest.raises(EngineError, match=r"could not run vae_decoder\.onnx"):
        engine.step(plain())
    assert before.shape == (2, 4, 16, 16)


# Devices


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_refused(
    pack: Path, monkeypatch: pytest.MonkeyPatch, device: str
):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with OnnxRuntimeEngine(EngineSettings(device=device)) as fresh:
        fresh.load(find_checkpoint(pack))
        with pytest.raises(EngineError) as error:
            fresh.step(plain())
        assert "'cuda' was asked for" in one_sentence(error)


def test_auto_takes_what_there_is(monkeypatch: pytest.MonkeyPatch):
    fresh = OnnxRuntimeEngine()
    for available, wanted in (
        (["CPUExecutionProvider"], "CPUExecutionProvider"),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], "CUDAExecutionProvider"),
    ):
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda it=available: it)
        assert fresh.provider == wanted


def test_a_silent_fallback_is_seen(engine: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_providers", lambda _: ["SomeExecutionProvider"]
    )
    with pytest.raises(EngineError) as error:
        engine.step(plain())
    assert "on SomeExecutionProvider though CPUExecutionProvider" in str(error.value)


def test_the_numbered_device_is_the_one_that_is_used(pack: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []

    class Session:
        def __init__(self, path: object, options: object, providers: list[Any]) -> None:
            asked.extend(providers)

        def disable_fallback(self) -> None: ...

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

        def get_outputs(self) -> list[Any]:
            raise RuntimeError("no device here")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(module.onnxruntime, "InferenceSession", Session)
    with OnnxRuntimeEngine(EngineSettings(device="cuda:1")) as fresh:
        fresh.load(find_checkpoint(pack))
        with pytest.raises(EngineError, match="could not run"):
            fresh.step(plain())
    assert asked == [("CUDAExecutionProvider", {"device_id": 1})]


def test_a_graph_that_the_runtime_cannot_read_is_one_error(
    engine: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch
):
    def old(*_: object, **__: object) -> None:
        raise RuntimeError("opset 23 is not supported")

    monkeypatch.setattr(module.onnxruntime, "InferenceSession", old)
    with pytest.raises(EngineError, match=r"cannot load unet\.plain\.onnx: opset 23"):
        engine.step(plain())


# Sizes


def test_other_sizes_are_refused(loaded: OnnxRuntimeEngine):
    calls: list[tuple[Any, Any]] = [
        (loaded.step, plain(latent=(16, 24))),
        (loaded.encode_image, np.zeros((1, 3, 32, 48), np.float32)),
        (loaded.decode, np.zeros((1, 4, 16, 24), np.float32)),
    ]
    for call, given in calls:
        with pytest.raises(OptionError) as error:
            call(given)
        assert "made for pictures of 32 x 32 pixels, not 32 x 48" in one_sentence(error)


def test_an_edit_of_another_size_is_refused(pack: Path):
    with (
        Editor.load(pack, engine="onnxruntime", device="cpu") as editor,
        pytest.raises(OptionError, match="made for pictures of 32 x 32 pixels"),
    ):
        editor.generate("a red cat", steps=1, size=(64, 64))


# Reads


def reading(engine: OnnxRuntimeEngine, words: int, stride: int) -> dict[str, Any]:
    ports = plain()
    sizes = engine.info.sizes((16, 16))
    ports |= neutral("read", sizes, 2)
    ports["read.weights"] = np.full((2, words, 40), 1 / 40)
    ports["read.sites"][list(sizes.sites.select("cross", strides=(stride,)))] = 1
    return ports


@pytest.mark.parametrize("words", [1, 2])
def test_as_many_maps_come_back_as_were_asked_for(loaded: OnnxRuntimeEngine, words: int):
    (field,) = loaded.step(reading(loaded, words, 1)).reads.values()
    assert field.shape == (2, words, 16, 16)
    assert np.allclose(field, 1 / 40, atol=1e-6)  # probabilities add up to one


def test_reads_that_the_graphs_lack_are_refused(loaded: OnnxRuntimeEngine):
    with pytest.raises(UnsupportedError) as error:
        loaded.step(reading(loaded, 3, 1))
    assert "reads 2 weight vectors a row, not 3" in one_sentence(error)
    with pytest.raises(UnsupportedError) as error:
        loaded.step(reading(loaded, 1, 2))
    assert "reads maps at stride 1, not at 2" in one_sentence(error)


def test_a_pack_without_the_variant_says_so(copy: Path):
    manifest = json.loads((copy / MANIFEST).read_text())
    edit_manifest(copy, variants={"plain": manifest["variants"]["plain"]})
    with OnnxRuntimeEngine(CPU) as fresh:
        info = fresh.load(find_checkpoint(copy))
        with pytest.raises(UnsupportedError) as error:
            fresh.step({**plain(), **neutral("route", info.sizes((16, 16)), 2)})
    assert "no variant with route; it has plain" in str(error.value)


def test_the_smallest_variant_runs_and_is_loaded_when_it_is_needed(engine: OnnxRuntimeEngine):
    sessions = engine._sessions
    assert not sessions
    engine.step(plain())
    assert list(sessions) == ["unet.plain.onnx"]
    engine.step({**plain(), **neutral("mix", engine.info.sizes((16, 16)), 2)})
    assert list(sessions) == ["unet.plain.onnx", "unet.routed.onnx"]


def test_a_pack_runs_without_torch(pack: Path):
    program = """
import sys
for name in ("torch", "diffusers", "transformers", "onnx"):
    sys.modules[name] = None
from scumble import Editor
with Editor.load(sys.argv[1], engine="onnxruntime", threads=1) as editor:
    print(editor.generate("a red cat", steps=2).image.size)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(pack)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(32, 32)\n"


def test_a_pack_without_gradients_says_so(
    engine: OnnxRuntimeEngine, monkeypatch: pytest.MonkeyPatch
):
    assert engine.supports(GUIDED)
    left = {n: v for n, v in engine.manifest.variants.items() if n != "guiding"}
    monkeypatch.setattr(engine, "_manifest", engine.manifest.model_copy(update={"variants": left}))
    assert not engine.supports(GUIDED)
    with pytest.raises(UnsupportedError) as error:
        engine._gradient({})
    assert "export it with the variant 'guiding'" in str(error.value)


def test_no_thread_spins_when_a_step_is_over(pack: Path):
    """The next step may be another session's, which then has to share the cores with it."""
    with OnnxRuntimeEngine(EngineSettings(device="cpu", threads=2)) as engine:
        info = engine.load(find_checkpoint(pack))
        sizes = info.sizes(info.sites.native)
        ports = {
            "sample": np.zeros((1, *sizes.latent), np.float32),
            "timestep": np.zeros(1, np.int64),
            "text": np.zeros((1, sizes.tokens, sizes.features), np.float32),
        }

        def burnt() -> float:
            engine.step(ports)
            begun = time.process_time()
            time.sleep(0.01)
            return time.process_time() - begun

        burnt()
        # Of all threads of this process; the least of five, for some may have work of their own.
        assert min(burnt() for _ in range(5)) < 0.003
