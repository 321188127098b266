"""Group normalisation in a graph: the same numbers, also where E[x^2] - E[x]^2 has none left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from scumble_export.tracing import traced

pytestmark = pytest.mark.thorough


@pytest.fixture
def normed(tmp_path: Path) -> Callable[..., tuple[Any, nn.Module]]:
    """Traces a normalisation of 64 channels in 32 groups."""

    def make(opset: int) -> tuple[Any, nn.Module]:
        torch.manual_seed(0)
        module = nn.GroupNorm(32, 64).eval()
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
        example = {"x": np.ones((3, 64, 16, 16), np.float32)}
        model = traced(module, example, ({0: "rows"},), ["x"], ["y"], opset)
        onnx.save_model(ir.to_proto(model), tmp_path / "norm.onnx")
        kinds = {node.op_type for node in onnx.load(tmp_path / "norm.onnx").graph.node}
        assert "InstanceNormalization" in kinds
        assert "GroupNormalization" not in kinds
        return onnxruntime.InferenceSession(tmp_path / "norm.onnx"), module

    return make


@pytest.mark.parametrize("opset", [21, 23])
@pytest.mark.parametrize("mean", [0.0, 300.0])
def test_it_is_torchs(normed: Callable[..., tuple[Any, nn.Module]], opset: int, mean: float):
    session, module = normed(opset)
    for rows in (1, 4):
        x = np.random.default_rng(rows).standard_normal((rows, 64, 16, 16)) + mean
        given = x.astype(np.float32)
        with torch.no_grad():
            wanted = module.double()(torch.from_numpy(given).double()).numpy()
        (found,) = session.run(None, {"x": given})
        # The input's own rounding, and nothing that cancels.
        assert np.abs(found - wanted).max() < 1e-5 * (1 + mean / 10)


def test_torch_is_left_as_it_was(normed: Callable[..., tuple[Any, nn.Module]]):
    plain = F.group_norm
    normed(23)
    assert F.group_norm is plain
