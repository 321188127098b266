"""Graphs are what was declared, name nobody's files, and differ from torch by rounding only."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn

from scumble.errors import ModelError
from scumble.packs import read_manifest
from scumble.ports import INPUTS, PortSizes
from scumble_export.graph import Declaration, declare
from scumble_export.pack import VARIANTS
from scumble_export.tracing import (
    GraphRun,
    computed,
    forget_origin,
    parity,
    require_declared,
    traced,
)

pytestmark = pytest.mark.thorough


class Root(nn.Module):
    """A module whose graph gives NaN for negative numbers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        print("printed while it is traced")
        return x.sqrt() + 1


class Scaled(nn.Module):
    """One that differs from it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt() + 1.001


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    examples = {"x": np.ones((3, 2), np.float32)}
    path = tmp_path_factory.mktemp("root") / "root.onnx"
    onnx.save(ir.to_proto(traced(Root().eval(), examples, ({0: "rows"},), ["x"], ["y"], 23)), path)
    return path


def test_a_trace_prints_nothing_to_stdout(capsys: pytest.CaptureFixture[str]):
    examples = {"x": np.ones((3, 2), np.float32)}
    model = ir.to_proto(traced(Root().eval(), examples, ({0: "rows"},), ["x"], ["y"], 23))
    forget_origin(model)
    assert capsys.readouterr().out == ""
    assert b"test_tracing" not in model.SerializeToString()
    assert [d.dim_param or d.dim_value for d in
            model.graph.input[0].type.tensor_type.shape.dim] == ["rows", 2]  # fmt: skip
    assert sys.stdout is not sys.stderr


def compared(module: nn.Module, root: Path, *values: float, tolerance: float = 1e-5) -> float:
    """Parity of the root's graph with a module, on inputs of one value each."""
    given = [{"x": np.full((1, 2), value, np.float32)} for value in values]
    cases = [(one, computed(module, one)) for one in given]
    worst, found = parity(GraphRun(root), cases, tolerance)
    assert len(found) == len(cases)
    return worst


def test_parity(root: Path):
    assert compared(Root(), root, 4) == 0
    with pytest.raises(ModelError, match=r"root\.onnx differs from torch by 3\.3e-04"):
        compared(Scaled(), root, 4)
    assert compared(Scaled(), root, 4, tolerance=1e-3) == pytest.approx(3.3e-4, rel=0.02)
    with pytest.raises(ModelError, match=r"by 1\.0e-03"):
        compared(Scaled(), root, 4, 0)  # the worst of all


def test_nan_is_no_parity(root: Path):
    for values in ((-4,), (4, -4), (-4, 4)):
        with pytest.raises(ModelError, match="differs from torch by nan"):
            compared(Root(), root, *values)


def test_derived_axes(tmp_path: Path):
    """What has one more row than the sample is so for every number of rows."""

    class Beyond(nn.Module):
        def forward(self, x: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
            return torch.cat([x, x[:1]]) + more

    examples = {"x": np.ones((3, 2), np.float32), "more": np.ones((4, 2), np.float32)}
    axes = ({0: "rows"}, {0: "rows + 1"})
    model = ir.to_proto(traced(Beyond().eval(), examples, axes, ["x", "more"], ["y"], 23))
    shapes = [v.type.tensor_type.shape.dim[0].dim_param for v in
              (*model.graph.input, *model.graph.output)]  # fmt: skip
    assert shapes == ["rows", "rows + 1", "rows + 1"]
    onnx.save(model, tmp_path / "beyond.onnx")
    given = {"x": np.ones((1, 2), np.float32), "more": np.ones((2, 2), np.float32)}
    np.testing.assert_array_equal(GraphRun(tmp_path / "beyond.onnx")(given)[0], np.full((2, 2), 2))


@pytest.fixture(scope="module")
def declared(pack: Path) -> tuple[onnx.ModelProto, Declaration]:
    manifest = read_manifest(pack)
    shape = (manifest.channels, *manifest.latent)
    sizes = PortSizes(shape, manifest.tokens, manifest.features, manifest.table())
    graph = onnx.load(pack / "unet.reading.onnx", load_external_data=False)
    return graph, declare("reading", VARIANTS["reading"], sizes, (1,))


PORTS = {port.name: port for port in INPUTS}
LAST = PORTS["read.sites"]


def test_a_graph_as_declared_passes(declared: Any):
    require_declared(*declared)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: {"inputs": d.inputs[:-1]}, "read.sites.* instead of nothing"),
        (
            lambda d: {"inputs": (*d.inputs, PORTS["region.query"])},
            "nothing instead of .*region.query",
        ),
        (
            lambda d: {"inputs": (*d.inputs[:-1], replace(LAST, name="x"))},
            "read.sites.* instead of .*'x'",
        ),
        (
            lambda d: {"inputs": (*d.inputs[:-1], replace(LAST, dtype="index"))},
            "'read.sites', .*float32.* instead of .*'read.sites', .*int64",
        ),
        (
            lambda d: {"inputs": (*d.inputs[:-1], replace(LAST, axes=("tokens",)))},
            "instead of .*'read.sites', .40,",
        ),
        (lambda d: {"outputs": d.outputs[:-1]}, "read.1.* instead of nothing"),
        (
            lambda d: {"outputs": ("noise", "read.2"), "strides": (2,)},
            "read.1.* instead of .*read.2",
        ),
    ],
)  # fmt: skip
def test_a_graph_that_differs_is_refused(declared: Any, change: Any, said: str):
    graph, declaration = declared
    with pytest.raises(ModelError, match=f"the reading graph differs .*{said}"):
        require_declared(graph, replace(declaration, **change(declaration)))
