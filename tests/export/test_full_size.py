"""The UNets of SD2.1 and SDXL at full size, traced with weights that are shapes alone."""

from collections import Counter
from pathlib import Path
from runpy import run_path
from typing import Any, cast

import onnx
import onnx_ir as ir
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from scumble.ports import ADDED, PortSizes
from scumble_engines.torch.controls import ControlBus
from scumble_engines.torch.ported import PortedUNet, attach_ports
from scumble_engines.torch.sites import sites_of
from scumble_export import tracing
from scumble_export.graph import Declaration, as_tensors, declare
from scumble_export.pack import VARIANTS
from scumble_export.tracing import require_declared, traced

pytestmark = pytest.mark.slow
FAMILIES = run_path(str(Path(__file__).parents[1] / "engines" / "torch" / "test_sites.py"))
TOKENS = 77


@pytest.fixture
def weightless(monkeypatch: pytest.MonkeyPatch) -> FakeTensorMode:
    """Let the exporter trace fakes, and not fold constants, of which there are none."""
    mode = FakeTensorMode()

    def fakes(examples: Any) -> tuple[torch.Tensor, ...]:
        return tuple(mode.from_tensor(tensor) for tensor in as_tensors(examples))

    monkeypatch.setattr(tracing, "as_tensors", fakes)
    export = torch.onnx.export
    as_it_is = {"optimize": False}
    monkeypatch.setattr(
        torch.onnx, "export", lambda *given, **how: export(*given, **how | as_it_is)
    )
    return mode


def graph_of(
    config: dict[str, Any], variant: str, pooled: int | None, mode: FakeTensorMode
) -> tuple[Declaration, ir.Model, int]:
    """Return what is declared of a variant, what was traced, and the number of weights."""
    with mode:
        unet = UNet2DConditionModel(in_channels=4, out_channels=4, **config).eval()
    sites, bus = sites_of(unet), ControlBus()
    attach_ports(unet, sites, bus)
    sizes = PortSizes((4, *sites.native), TOKENS, config["cross_attention_dim"], sites, pooled)
    declaration = declare(variant, VARIANTS[variant], sizes, (sites.map_stride,))
    dynamic = tuple(
        {axis: size for axis, size in enumerate(axes) if isinstance(size, str)}
        for axes, _ in declaration.taken.values()
    )
    examples = declaration.examples(3, seed=0)
    module = PortedUNet(unet, bus, declaration.signature).eval()
    assert all(isinstance(weight, FakeTensor) for weight in module.parameters())
    names = list(declaration.taken), list(declaration.outputs)
    model = traced(module, examples, dynamic, *names, opset=23)
    return declaration, model, sum(weight.numel() for weight in unet.parameters())


@pytest.mark.parametrize(
    ("family", "variant", "pooled", "weights", "sites"),
    [
        ("SD21", "routed", None, 865_910_724, 16),
        ("SDXL", "routed", 1280, 2_567_463_684, 70),
    ],
)
def test_the_graph_is_the_declared_one(
    weightless: FakeTensorMode, family: str, variant: str, pooled: int | None, weights: int,
    sites: int,
):  # fmt: skip
    declaration, model, count = graph_of(FAMILIES[family], variant, pooled, weightless)
    assert count == weights  # as published
    taken = list(declaration.taken)
    assert [port.name in taken for port in ADDED] == [pooled is not None] * 2
    stored = [tuple(value.shape or ()) for value in model.graph.initializers.values()]
    model.graph.initializers.clear()
    proto = ir.to_proto(model)
    assert isinstance(proto, onnx.ModelProto)
    require_declared(proto, declaration)
    attended = Counter(node.op_type for node in proto.graph.node)["Attention"]
    # A cross-attention that is mixed is two: with the source's queries and keys, and its own.
    assert attended == sites + 2 * sites
    held = sum(torch.Size([cast("int", side) for side in shape]).numel() for shape in stored)
    assert held == weights
