"""Graphs are looked over before they are written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from scumble.errors import ModelError
from scumble_export import writing
from scumble_export.linter import Finding, Runtime
from scumble_export.writing import GraphWriter

pytestmark = pytest.mark.thorough
EXAMPLES = {"x": np.ones((3, 2), np.float32)}


class Root(nn.Module):
    """A graph of one node."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


def finding(of: Runtime) -> Callable[[onnx.ModelProto, Runtime], list[Finding]]:
    """A linter that dislikes every graph, for one runtime."""
    return lambda _, runtime: [Finding(of, "n", "Sqrt", "is odd")] if runtime == of else []


def test_a_graph_is_written_and_runs(tmp_path: Path):
    with GraphWriter(tmp_path, 23) as writer:
        graph = writer.write("root.onnx", Root().eval(), EXAMPLES, [{0: "rows"}], ["y"])
        np.testing.assert_array_equal(graph({"x": np.full((1, 2), 4, np.float32)})[0], [[2, 2]])
    assert writer.remarks == {}
    assert b"test_writing" not in (tmp_path / "root.onnx").read_bytes()


def test_what_onnxruntime_refuses_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "lint", finding("onnxruntime"))
    with (
        GraphWriter(tmp_path, 23) as writer,
        pytest.raises(ModelError, match=r"root\.onnx cannot be run: onnxruntime: Sqrt 'n' is odd"),
    ):
        writer.write("root.onnx", Root().eval(), EXAMPLES, [{0: "rows"}], ["y"])
    assert not (tmp_path / "root.onnx").exists()


def test_what_others_refuse_is_remarked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "lint", finding("tensorrt"))
    with GraphWriter(tmp_path, 23) as writer:
        writer.write("root.onnx", Root().eval(), EXAMPLES, [{0: "rows"}], ["y"])
    assert writer.remarks == {"root.onnx": ("tensorrt: Sqrt 'n' is odd.",)}
    assert (tmp_path / "root.onnx").exists()
