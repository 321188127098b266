"""The judge's network is saved once, and its graph points into what was saved."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from safetensors.torch import load_file

from scumble.errors import ModelError
from scumble_bench.rooms import judge_network
from scumble_bench.rooms.judge import GRAPH, Judge
from scumble_bench.rooms.judge_network import (
    WEIGHTS,
    JudgeNetwork,
    load_network,
    pooled,
    save_network,
    write_graph,
)

pytestmark = pytest.mark.thorough
PICTURES = np.random.default_rng(3).integers(0, 256, (9, 128, 128, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def network() -> JudgeNetwork:
    torch.manual_seed(0)
    network = JudgeNetwork().eval().requires_grad_(False)
    # As initialised, the normalisations have equal weights, which the exporter joins.
    for parameter in network.parameters():
        parameter += 0.01 * torch.randn_like(parameter)
    return network


@pytest.fixture(scope="module")
def folder(network: JudgeNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    save_network(network, folder)
    return folder


def test_what_is_saved_is_small_and_the_same_but_for_rounding(folder: Path, network: JudgeNetwork):
    assert {path.name for path in folder.iterdir()} == {WEIGHTS, GRAPH, "config.json"}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1.5e6
    again = load_network(folder).state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(again[name], tensor.half().float()), name


def test_the_graph_says_what_the_network_says(folder: Path):
    found = Judge.load(folder).logits(PICTURES, batch=4)  # and a last batch of one
    wanted = load_network(folder)(torch.from_numpy(PICTURES).permute(0, 3, 1, 2) / 127.5 - 1)
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.shape == tuple(theirs.shape)
        assert np.abs(mine - theirs.numpy()).max() < 1e-4 * float(theirs.abs().max())


def test_no_weight_is_in_the_graph(folder: Path):
    assert (folder / GRAPH).stat().st_size < 50_000
    model = onnx.load(folder / GRAPH)  # with what it points to
    held = {
        numpy_helper.to_array(tensor).tobytes()
        for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT16
    }
    for name, weight in load_file(folder / WEIGHTS).items():
        assert weight.numpy().tobytes() in held, name
    inside = onnx.load(folder / GRAPH, load_external_data=False).graph.initializer
    assert max(len(tensor.raw_data) for tensor in inside) < 300


def test_a_graph_that_differs_is_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before = (folder / GRAPH).read_bytes()
    monkeypatch.setattr(judge_network, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="differs from torch"):
        write_graph(folder)
    assert (folder / GRAPH).read_bytes() == before
    assert len(list(folder.iterdir())) == 3


def test_a_weight_that_is_stored_otherwise_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    other = judge_network.load_network(folder)
    with torch.no_grad():
        other.presence.weight += 1
    monkeypatch.setattr(judge_network, "load_network", lambda _: other)
    with pytest.raises(AssertionError, match=r"presence\.weight is not stored as the graph has it"):
        write_graph(folder)


def test_pooling_weighs_by_the_mask():
    logits = torch.arange(4.0).view(1, 1, 2, 2)
    masks = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    assert pooled(logits, masks).item() == pytest.approx(1.5)
    assert pooled(logits, torch.zeros_like(masks)).item() == 0
