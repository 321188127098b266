"""Graphs are what was declared, name nobody's files, and differ from torch by rounding only."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from scumble.errors import ModelError
from scumble.packs import read_manifest
from scumble.ports import INPUTS, PortSizes
from scumble_export.graph import Declaration, declare
from scumble_export.pack import VARIANTS
from scumble_export.tracing import parity, require_declared, traced

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
    onnx.save(traced(Root().eval(), examples, ({0: "rows"},), ["x"], ["y"], 23), path)
    return path


def test_a_trace_prints_nothing_to_stdout(capsys: pytest.CaptureFixture[str]):
    examples = {"x": np.ones((3, 2), np.float32)}
    model = traced(Root().eval(), examples, ({0: "rows"},), ["x"], ["y"], 23)
    assert capsys.readouterr().out == ""
    assert b"test_tracing" not in model.SerializeToString()
    assert [d.dim_param or d.dim_value for d in
            model.graph.input[0].type.tensor_type.shape.dim] == ["rows", 2]  # fmt: skip
    assert sys.stdout is not sys.stderr


def test_parity(root: Path):
    four = {"x": np.full((1, 2), 4, np.float32)}
    assert parity(Root(), root, four) == 0
    with pytest.raises(ModelError, match=r"root\.onnx differs from torch by 3\.3e-04"):
        parity(Scaled(), root, four)


def test_nan_is_no_parity(root: Path):
    with pytest.raises(ModelError, match="differs from torch by nan"):
        parity(Root(), root, {"x": np.full((1, 2), -4, np.float32)})


@pytest.fixture(scope="module")
def reading(pack: Path) -> tuple[onnx.ModelProto, PortSizes]:
    manifest = read_manifest(pack)
    shape = (manifest.channels, *manifest.latent)
    sizes = PortSizes(shape, manifest.tokens, manifest.features, manifest.table())
    return onnx.load(pack / "unet.reading.onnx", load_external_data=False), sizes


DECLARED = declare(VARIANTS["reading"], "reading", (1,))
FIRST, LAST = DECLARED.inputs[:-1], DECLARED.inputs[-1]
PORTS = {port.name: port for port in INPUTS}


def test_a_graph_as_declared_passes(reading: Any):
    require_declared(reading[0], DECLARED, reading[1])


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        (replace(DECLARED, inputs=DECLARED.inputs[:-1]), "read.sites.* instead of nothing"),
        (
            replace(DECLARED, inputs=(*DECLARED.inputs, PORTS["region.query"])),
            "nothing instead of .*region.query",
        ),
        (
            replace(DECLARED, inputs=(*FIRST, replace(LAST, name="x"))),
            "read.sites.* instead of .*'x'",
        ),
        (
            replace(DECLARED, inputs=(*FIRST, replace(LAST, dtype="index"))),
            "'read.sites', .*, 1. instead of .*'read.sites', .*, 7.",
        ),
        (
            replace(DECLARED, inputs=(*FIRST, replace(LAST, axes=("tokens",)))),
            "instead of .*'read.sites', .40,",
        ),
        (replace(DECLARED, strides=()), "read.1.* instead of nothing"),
        (replace(DECLARED, strides=(2,)), "read.1.* instead of .*read.2"),
    ],
)  # fmt: skip
def test_a_graph_that_differs_is_refused(reading: Any, declaration: Declaration, said: str):
    with pytest.raises(ModelError, match=f"the reading graph differs .*{said}"):
        require_declared(reading[0], declaration, reading[1])
