"""What the openvino engine refuses, what it checks, and how far bf16 is from torch.

That it agrees with torch in fp32 is in `tests/contracts/test_every_engine.py`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from scumble.engine import EngineSettings
from scumble.errors import ControlError, EngineError, ModelError, OptionError
from scumble.models import find_checkpoint
from scumble.packs import MANIFEST
from scumble.ports import Group, neutral
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble_engines.openvino import OpenVinoEngine, gate
from scumble_engines.openvino import engine as module
from scumble_engines.openvino.gate import random_ports
from scumble_engines.openvino.runtime import runtime
from scumble_engines.torch import TorchEngine

pytestmark = pytest.mark.thorough
CPU = EngineSettings(device="cpu", threads=1)
BF16 = EngineSettings("bf16", threads=1)
VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
    "masked": ("route", "mix", "read", "region"),
    "featured": ("route", "feature"),
}


@pytest.fixture
def copy(pack: Path, tmp_path: Path) -> Path:
    """The pack, to be damaged."""
    return Path(shutil.copytree(pack, tmp_path / "copy"))


@pytest.fixture
def cheap_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every graph through without comparing it; for what has nothing to do with the gate."""
    monkeypatch.setattr(
        module, "passed", lambda _, path, threads: gate.Graph(path, "bf16", threads)
    )


def doctor(folder: Path, file: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a graph of a pack, and let the manifest vouch for it."""
    model = onnx.load(folder / file, load_external_data=False)
    change(model)
    (folder / file).write_bytes(model.SerializeToString())
    told = json.loads((folder / MANIFEST).read_text())
    told["files"][file] = hashlib.sha256((folder / file).read_bytes()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(told))


def ports_of(engine: Any, groups: tuple[Group, ...]) -> dict[str, Any]:
    """Two rows of random ports, far from neutral."""
    sizes = engine.info.sizes((16, 16))
    shapes: dict[str, tuple[int | None, ...]] = {
        "sample": (None, 4, 16, 16),
        "timestep": (None,),
        "text": (None, 40, 32),
    }
    for group in groups:
        # No axis of the model is as long as this, so that the rows can be told.
        for name, array in neutral(group, sizes, 97).items():
            shapes[name] = tuple(None if n == 97 else n for n in array.shape)
    ports = random_ports(shapes)
    if "read" in groups:
        ports["read.sites"][:] = 0
        ports["read.sites"][list(sizes.sites.select("cross", strides=(1,)))] = 1
    return ports


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


# What it is


def test_it_says_what_it_runs_on():
    engine = OpenVinoEngine(EngineSettings("bf16", threads=3))
    assert engine.provenance == {
        "engine": "openvino",
        "openvino": runtime.__version__,
        "device": "CPU",
        "precision": "bf16",
        "threads": "3",
    }
    assert "loss" not in engine.groups


def test_it_runs_on_the_cpu_only(pack: Path):
    with (
        OpenVinoEngine(EngineSettings(device="cuda")) as engine,
        pytest.raises(EngineError, match="'cuda' and the openvino engine runs on the CPU only"),
    ):
        engine.load(find_checkpoint(pack))


def test_a_cpu_without_bf16_is_refused(pack: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime.Core, "get_property", lambda *_: ["FP32", "INT8"])
    with OpenVinoEngine(BF16) as engine, pytest.raises(EngineError, match="does not compute in bf"):
        engine.load(find_checkpoint(pack))
    with OpenVinoEngine(CPU) as engine:
        engine.load(find_checkpoint(pack))


def test_a_pack_in_halves_is_refused(copy: Path):
    told = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(told | {"precision": "fp16"}))
    with (
        OpenVinoEngine(EngineSettings("fp16")) as engine,
        pytest.raises(EngineError, match="made in fp32 and this one is made in fp16"),
    ):
        engine.load(find_checkpoint(copy))
    for precision in ("fp32", "bf16"):
        with (
            OpenVinoEngine(EngineSettings(precision)) as engine,
            pytest.raises(OptionError, match="made in fp16"),
        ):
            engine.load(find_checkpoint(copy))


@pytest.mark.parametrize("precision", ["fp16", "fp64"])
def test_other_precisions_are_refused(pack: Path, precision: Any):
    with (
        OpenVinoEngine(EngineSettings(precision)) as engine,
        pytest.raises(OptionError, match="is made in fp32"),
    ):
        engine.load(find_checkpoint(pack))


def test_graphs_are_compiled_when_they_are_needed(pack: Path):
    with OpenVinoEngine(CPU) as engine:
        engine.load(find_checkpoint(pack))
        assert not engine._graphs
        engine.step(ports_of(engine, ()))
        assert list(engine._graphs) == [("unet.plain.onnx", "fp32")]
        engine.trim()
        assert not engine._graphs
        assert engine.step(ports_of(engine, ())).noise.shape == (2, 4, 16, 16)
        engine.load(find_checkpoint(pack))
        assert not engine._graphs


def test_a_pack_runs_without_torch(pack: Path):
    program = """
import sys
for name in ("torch", "diffusers", "transformers", "onnx", "onnxruntime", "openvino_telemetry"):
    sys.modules[name] = None
from scumble import Editor
with Editor.load(sys.argv[1], engine="openvino", threads=1) as editor:
    print(editor.generate("a red cat", steps=2).image.size)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(pack)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(32, 32)\n"


# bf16


@pytest.fixture(scope="module")
def both(pack: Path, small: Path, needs_bf16: None) -> Iterator[tuple[OpenVinoEngine, TorchEngine]]:
    """The engine in bf16, behind its gate, and torch in fp32."""
    with OpenVinoEngine(BF16) as engine, TorchEngine(CPU) as reference:
        engine.load(find_checkpoint(pack))
        reference.load(find_checkpoint(small))
        yield engine, reference


@pytest.mark.parametrize("variant", VARIANTS)
def test_bf16_is_near_torch(both: tuple[OpenVinoEngine, TorchEngine], variant: str):
    """Measured: 0.0115 on noise and 0.004 on maps, with AVX512-BF16."""
    engine, reference = both
    ports = ports_of(engine, VARIANTS[variant])
    found, wanted = engine.step(ports), reference.step(ports)
    assert 1e-3 < error_of(found.noise, wanted.noise) < 0.02
    assert found.reads.keys() == wanted.reads.keys()
    for stride, field in wanted.reads.items():
        assert 1e-5 < error_of(found.reads[stride], field) < 0.01
    assert set(VARIANTS[variant]) <= found.bound


def test_text_and_pictures_stay_in_fp32(both: tuple[OpenVinoEngine, TorchEngine]):
    engine, reference = both
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (2, 40))
    pixels = rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    latents = rng.standard_normal((1, 4, 16, 16)).astype(np.float32)
    assert error_of(engine.encode_text(ids).states, reference.encode_text(ids).states) < 1e-5
    assert error_of(engine.encode_image(pixels), reference.encode_image(pixels)) < 1e-5
    assert error_of(engine.decode(latents), reference.decode(latents)) < 1e-5


def test_a_step_can_be_repeated_in_fp32(both: tuple[OpenVinoEngine, TorchEngine]):
    engine, reference = both
    ports = ports_of(engine, ())
    wanted = reference.step(ports).noise
    widened = engine.widened()
    assert widened is not None
    with widened as precision:
        assert precision == "fp32"
        assert error_of(engine.step(ports).noise, wanted) < 1e-5
        assert engine.widened() is None
    assert error_of(engine.step(ports).noise, wanted) > 1e-3
    assert OpenVinoEngine(CPU).widened() is None


@pytest.mark.usefixtures("needs_bf16", "cheap_gate")
def test_every_control_takes_effect_in_bf16(pack: Path):
    session = Session(find_checkpoint(pack), OpenVinoEngine(BF16))
    for group in ("route", "mix", "read", "region"):
        require_effect(session, group)
    session.engine.close()


@pytest.mark.usefixtures("needs_bf16")
def test_a_graph_that_bf16_spoils_is_refused_and_runs_in_fp32(
    copy: Path, monkeypatch: pytest.MonkeyPatch
):
    def spoil(model: onnx.ModelProto) -> None:
        """Make the noise so steep a function that it hangs on digits that bf16 has not."""
        (last,) = [n for n in model.graph.node if "noise" in n.output]
        last.output[list(last.output).index("noise")] = "exact"
        much = numpy_helper.from_array(np.asarray(300, np.float32), "much")
        model.graph.initializer.append(much)
        model.graph.node.extend(
            [
                helper.make_node("Mul", ["exact", "much"], ["raised"]),
                helper.make_node("Sin", ["raised"], ["noise"]),
            ]
        )

    doctor(copy, "unet.plain.onnx", spoil)
    monkeypatch.setattr(gate, "_VERDICTS", {})
    with OpenVinoEngine(BF16) as engine:
        engine.load(find_checkpoint(copy))
        with pytest.raises(EngineError, match=r"unet\.plain\.onnx in bf16 is off by"):
            engine.step(ports_of(engine, ()))
        assert not engine._graphs
    with OpenVinoEngine(CPU) as engine:
        engine.load(find_checkpoint(copy))
        assert np.isfinite(engine.step(ports_of(engine, ())).noise).all()


# A pack that is not what its manifest says


def test_hard_links_are_an_installers_right(copy: Path, tmp_path: Path):
    os.link(copy / "weights.bin", tmp_path / "second name")
    found = find_checkpoint(copy)
    with OpenVinoEngine(CPU) as engine:
        with pytest.raises(ModelError, match=r"'weights\.bin' .* has a second name"):
            engine.load(found)
        engine.load(replace(found, registered=True))
        assert engine.encode_text(np.zeros((1, 40), np.int64)).states.shape == (1, 40, 32)


def test_a_port_of_another_name_is_refused(copy: Path):
    def rename(model: onnx.ModelProto) -> None:
        (port,) = [i for i in model.graph.input if i.name == "mix.own"]
        port.name = "mix.mine"
        for node in model.graph.node:
            node.input[:] = ["mix.mine" if n == "mix.own" else n for n in node.input]

    doctor(copy, "unet.routed.onnx", rename)
    with OpenVinoEngine(CPU) as engine:
        engine.load(find_checkpoint(copy))
        with pytest.raises(EngineError, match=r"unet\.routed\.onnx wants the port 'mix\.mine'"):
            engine.step(ports_of(engine, ("route", "mix")))


def test_a_control_that_was_dropped_is_an_error(copy: Path):
    """The graph takes the port, and computes with a constant in its place."""

    def drop(model: onnx.ModelProto) -> None:
        sites = next(i for i in model.graph.input if i.name == "mix.sites")
        shape = sites.type.tensor_type.shape
        zeros = numpy_helper.from_array(
            np.zeros((shape.dim[0].dim_value, 1), np.float32), "nothing"
        )
        model.graph.initializer.append(zeros)
        model.graph.node.insert(0, helper.make_node("Mul", ["mix.sites", "nothing"], ["dropped"]))
        for node in model.graph.node[1:]:
            node.input[:] = ["dropped" if n == "mix.sites" else n for n in node.input]

    for file in ("unet.routed.onnx", "unet.reading.onnx", "unet.masked.onnx"):
        doctor(copy, file, drop)
    session = Session(find_checkpoint(copy), OpenVinoEngine(CPU))
    require_effect(session, "route")
    with pytest.raises(ControlError, match="mix ports of engine 'openvino' have no effect"):
        require_effect(session, "mix")
    session.engine.close()
