"""The declaration of a variant, and the module that carries it out."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scumble.engine import EngineSettings
from scumble.errors import ModelError
from scumble.models import find_checkpoint
from scumble.packs import read_manifest
from scumble.ports import PortSizes, neutral
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.attention import Controls
from scumble_export.graph import WORDS, PortedUNet, as_tensors, declare
from scumble_export.pack import VARIANTS

pytestmark = pytest.mark.thorough


@pytest.fixture
def sizes(pack: Path) -> PortSizes:
    manifest = read_manifest(pack)
    shape = (manifest.channels, *manifest.latent)
    return PortSizes(shape, manifest.tokens, manifest.features, manifest.table())


def test_inputs_and_outputs_of_each_variant():
    made = {name: declare(groups, name, (1,)) for name, groups in VARIANTS.items()}
    names = {name: [port.name for port in one.inputs] for name, one in made.items()}
    assert names["plain"] == ["sample", "timestep", "text"]
    assert set(names["routed"]) - set(names["plain"]) == {
        "route", "mix.source", "mix.own", "mix.row", "mix.sites",
    }  # fmt: skip
    assert set(names["reading"]) - set(names["routed"]) == {"read.weights", "read.sites"}
    assert set(names["masked"]) > set(names["reading"])
    outputs = {name: one.outputs for name, one in made.items()}
    assert outputs["plain"] == outputs["routed"] == ("noise",)
    assert outputs["reading"] == outputs["masked"] == ("noise", "read.1")


def test_shapes_leave_the_rows_open(sizes: PortSizes):
    declaration = declare(VARIANTS["masked"], "masked", (1,))
    shapes = {port.name: declaration.shape(port, sizes) for port in declaration.inputs}
    assert shapes["sample"] == ("rows", 4, 16, 16)
    assert shapes["text"] == ("rows", 40, 32)
    assert shapes["route"] == (4, 3, "rows")
    assert shapes["read.weights"] == ("rows", WORDS, 40)


@pytest.mark.parametrize("rows", [1, 3])
def test_examples_use_every_port(sizes: PortSizes, rows: int):
    declaration = declare(VARIANTS["masked"], "masked", (1,))
    found = declaration.examples(sizes, rows, seed=1)
    for port in declaration.inputs:
        array, shape = found[port.name], declaration.shape(port, sizes)
        assert array.shape == tuple(rows if axis == "rows" else axis for axis in shape)
        assert array.dtype == (np.int64 if port.dtype == "index" else np.float32)
        if port.group != "plain" and rows > 1:
            unmoved = neutral(port.group, sizes, rows)[port.name]
            assert not np.array_equal(array, unmoved), port.name
    again = declaration.examples(sizes, rows, seed=1)
    assert all(np.array_equal(found[name], again[name]) for name in found)


def test_the_module_is_the_engine(small: Path):
    declaration = declare(VARIANTS["masked"], "masked", (1,))
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = engine.load(find_checkpoint(small))
        sizes = info.sizes(info.sites.native)
        parts = engine.parts
        examples = declaration.examples(sizes, 3, seed=2)
        strides = [site.stride for site in info.sites.of("cross")]
        examples["read.sites"][:] = [stride == 1 for stride in strides]
        wanted = engine.step(examples)
        module = PortedUNet(parts.unet, parts.bus, declaration, sizes)
        with torch.inference_mode():
            noise, read = module(*as_tensors(examples, torch.float32))
        assert np.array_equal(noise.numpy(), wanted.noise)
        assert np.allclose(read.numpy(), wanted.reads[1], rtol=0, atol=1e-6)
        assert parts.bus.controls == Controls()


def test_a_unet_without_ports_is_refused(small: Path):
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    declaration = declare((), "plain", (1,))
    unet = UNet2DConditionModel.from_pretrained(small / "unet")
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = engine.load(find_checkpoint(small))
        with pytest.raises(ModelError, match="has no ports; load it with the torch engine"):
            PortedUNet(unet, engine.parts.bus, declaration, info.sizes((16, 16)))
