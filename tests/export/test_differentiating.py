"""Derivatives written out: against autograd, in ONNX Runtime, without operators that race."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from scumble_export import differentiating
from scumble_export.differentiating import differentiated
from scumble_export.tracing import GraphRun, traced


class Sloped(nn.Module):
    """A layer as a function that ends with a derivative by its input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, given: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        given = given.detach().requires_grad_()
        with torch.enable_grad():
            # Twice, so that a mean or deviation that was taken for constant shows.
            total = (weights * self.layer(given).square()).sum()
            (slope,) = torch.autograd.grad(total, given)
        return slope, total.detach().reshape(1)


class Doubled(nn.Module):
    """Nearest-neighbour enlargement, of sides by different factors."""

    def forward(self, given: Tensor) -> Tensor:
        return F.interpolate(given, scale_factor=(2.0, 3.0), mode="nearest")


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "stride 1": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "no padding, dilated": lambda: nn.Conv2d(4, 6, (3, 2), dilation=(2, 1)),
    "1x1": lambda: nn.Conv2d(4, 6, 1),
    "grouped": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2),
    "stride 2 of even sides": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "stride 2, last row unused": lambda: nn.Conv2d(4, 6, 2, stride=2),
    "group norm": lambda: nn.GroupNorm(2, 4, eps=1e-4),
    "layer norm": lambda: nn.LayerNorm(7, eps=1e-4),
    "enlarged": Doubled,
    "linear, twice": lambda: nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3, bias=False)),
    "gated": lambda: nn.Sequential(nn.SiLU(), nn.Conv2d(4, 4, 1), nn.GELU()),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_written_out(name: str, tmp_path: Path):
    torch.manual_seed(3)
    layer = LAYERS[name]().eval()
    for weight in layer.parameters():
        nn.init.normal_(weight)
    module = Sloped(layer)
    given = np.random.default_rng(1).standard_normal((1, 4, 8, 7)).astype(np.float32)
    outputs = layer(torch.from_numpy(given))
    weights = np.random.default_rng(2).standard_normal(outputs.shape).astype(np.float32)
    examples = {"given": given, "weights": weights}
    wanted = [t.numpy() for t in module(*map(torch.from_numpy, examples.values()))]
    program = differentiated(module, examples)
    model = traced(program, examples, ({}, {}), list(examples), ["slope", "total"], 21)
    path = tmp_path / "g.onnx"
    onnx.save_model(onnx.load_from_string(_bytes(model)), path)
    other = {name: array[:, :, ::-1].copy() for name, array in examples.items()}
    cases = [(examples, wanted)]
    cases.append((other, [t.numpy() for t in module(*map(torch.from_numpy, other.values()))]))
    graph = GraphRun(path)
    for inputs, right in cases:
        for mine, theirs in zip(graph(inputs), right, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-5 * np.abs(theirs).max())
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert not kinds & {"ScatterND", "ScatterElements", "GatherND", "GatherElements"}


def test_no_view_of_a_view_is_left(monkeypatch: pytest.MonkeyPatch):
    """A linear layer puts its input's axes together and its output's apart."""
    module = Sloped(nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3)))
    examples = {
        "given": np.ones((1, 4, 8, 7), np.float32), "weights": np.ones((1, 4, 8, 3), np.float32)
    }  # fmt: skip
    view = torch.ops.aten.view.default

    def views() -> list[bool]:
        """Whether each view is one of another view."""
        nodes = differentiated(module, examples).graph.find_nodes(op="call_function", target=view)
        return [node.args[0].target == view for node in nodes]

    assert not any(views())
    monkeypatch.setattr(differentiating, "_merge_views", lambda graph: None)
    assert any(views())


def _bytes(model: object) -> bytes:
    import onnx_ir as ir

    assert isinstance(model, ir.Model)
    return ir.to_proto(model).SerializeToString()
