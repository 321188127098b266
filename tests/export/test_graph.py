"""The declaration of a variant, and the module that carries it out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scumble.engine import EngineSettings
from scumble.errors import ControlError
from scumble.models import find_checkpoint
from scumble.packs import read_manifest
from scumble.ports import PortSizes, neutral
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.controls import Controls
from scumble_engines.torch.ported import PortedUNet
from scumble_export.graph import WORDS, Axis, Declaration, as_tensors, declare, nudged
from scumble_export.pack import TRUNCATED, VARIANTS

pytestmark = pytest.mark.thorough


@pytest.fixture
def sizes(pack: Path) -> PortSizes:
    manifest = read_manifest(pack)
    shape = (manifest.channels, *manifest.latent)
    return PortSizes(shape, manifest.tokens, manifest.features, manifest.table())


def of(name: str, sizes: PortSizes, **changed: Any) -> Declaration:
    return declare(name, VARIANTS[name], sizes, (1,), truncated=name in TRUNCATED, **changed)


def test_inputs_and_outputs_of_each_variant(sizes: PortSizes):
    made = {name: of(name, sizes) for name in VARIANTS}
    names = {name: list(one.taken) for name, one in made.items()}
    sources = [f"source.{site.path}" for site in sizes.sites if site.kind != "resnet"]
    assert names["plain"] == ["sample", "timestep", "text"]
    assert set(names["routed"]) - set(names["plain"]) == {
        "route", "mix.source", "mix.own", "mix.row", "mix.sites",
    }  # fmt: skip
    assert set(names["reading"]) - set(names["routed"]) == {"read.weights", "read.sites"}
    assert set(names["masked"]) > set(names["reading"])
    assert set(names["recording"]) - set(names["reading"]) == {"record.row"}
    assert set(names["replaying"]) - set(names["reading"]) == {"source.text", *sources}
    assert set(names["featured"]) - set(names["plain"]) == {"route", "feature_route"}
    outputs = {name: one.outputs for name, one in made.items()}
    assert outputs["plain"] == outputs["routed"] == outputs["featured"] == ("noise",)
    for name in ("reading", "masked", "replaying"):
        assert outputs[name] == ("noise", "read.1")
    assert outputs["recording"] == ("noise", "read.1", *sources)
    assert outputs["looking"] == ("read.1",)


def test_shapes_leave_the_rows_open(sizes: PortSizes):
    axes = {name: axes for name, (axes, _) in of("masked", sizes).taken.items()}
    assert axes["sample"] == ("rows", 4, 16, 16)
    assert axes["text"] == ("rows", 40, 32)
    assert axes["route"] == (4, 3, "rows")
    assert axes["read.weights"] == ("rows", WORDS, 40)
    replaying = of("replaying", sizes)
    assert replaying.taken["read.weights"][0] == ("rows + 1", WORDS, 40)
    assert replaying.given["read.1"][0] == ("rows + 1", WORDS, 16, 16)
    assert replaying.taken["source.down_blocks.0.attentions.0.transformer_blocks.0.attn1"][0] == (
        1, 256, 32,
    )  # fmt: skip


def test_only_recorded_state_is_in_halves(sizes: PortSizes):
    declaration = of("replaying", sizes, precision="fp16")
    halves = {name for name, (_, dtype) in declaration.taken.items() if dtype == np.float16}
    assert halves == {f"source.{s.path}" for s in sizes.sites if s.kind != "resnet"}
    assert declaration.given["noise"][1] == np.float32


@pytest.mark.parametrize("name", ["masked", "replaying", "featured", "recording"])
@pytest.mark.parametrize("rows", [1, 3])
def test_examples_use_every_port(sizes: PortSizes, rows: int, name: str):
    declaration = of(name, sizes)
    found = declaration.examples(rows, seed=1)
    for port in declaration.inputs:
        array, (axes, dtype) = found[port.name], declaration.taken[port.name]
        known: dict[Axis, int] = {"rows": rows, "rows + 1": rows + 1}
        assert array.shape == tuple(known.get(axis, axis) for axis in axes)
        assert array.dtype == dtype
        if port.group not in ("plain", "replay") and rows > 1 and port.name != "record.row":
            unmoved = neutral(port.group, sizes, rows, name == "replaying")[port.name]
            assert not np.array_equal(array, unmoved), port.name
        addressable = rows + (name == "replaying" and port.name in ("route", "mix.row"))
        assert not np.array_equal(nudged(port.name, array, addressable), array) or rows == 1
    if name == "replaying":
        assert found["route"].max() == found["mix.row"].max() == rows
    again = declaration.examples(rows, seed=1)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_the_module_is_the_engine(small: Path):
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = engine.load(find_checkpoint(small))
        sizes = info.sizes(info.sites.native)
        parts = engine.parts
        declaration = of("masked", sizes)
        examples = declaration.examples(3, seed=2)
        strides = [site.stride for site in info.sites.of("cross")]
        examples["read.sites"][:] = [stride == 1 for stride in strides]
        wanted = engine.step(examples)
        module = PortedUNet(parts.unet, parts.bus, declaration.signature)
        with torch.inference_mode():
            noise, read = module(*as_tensors(examples))
        assert np.array_equal(noise.numpy(), wanted.noise)
        assert np.allclose(read.numpy(), wanted.reads[1], rtol=0, atol=1e-6)
        assert parts.bus.controls == Controls()


def test_a_unet_without_ports_is_refused(small: Path):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(small / "unet")
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = engine.load(find_checkpoint(small))
        declaration = of("plain", info.sizes((16, 16)))
        module = PortedUNet(unet, engine.parts.bus, declaration.signature)
        with pytest.raises(ControlError, match="0 of 8 attention sites ran through Scumble"):
            module(*as_tensors(declaration.examples(2, seed=1)))
