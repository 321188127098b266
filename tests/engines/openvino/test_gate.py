"""A graph in bf16 is used only where it agrees with itself in fp32."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scumble.errors import EngineError
from scumble_engines.openvino import gate
from scumble_engines.openvino.gate import BOUND, passed, random_ports

WEIGHTS = np.random.default_rng(3).standard_normal((16, 4)).astype(np.float32)


class Fake:
    """A graph whose bf16 is off by a given part of its outputs."""

    off = 0.01
    made: tuple[str, ...] = ()

    def __init__(self, path: Path, computed: str, threads: int | None) -> None:
        type(self).made += (computed,)
        self.factor = 1 + self.off if computed == "bf16" else 1.0
        self.shapes = {"sample": (None, 3)}

    def __call__(self, feed: dict[str, Any]) -> dict[str, Any]:
        assert feed["sample"].shape == (2, 3)
        return {"noise": self.factor * np.ones((2, 3)), "read.1": np.ones(4)}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_VERDICTS", {})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(gate, "Graph", Fake)
    monkeypatch.setattr(Fake, "made", ())
    return Fake


PATH = Path("unet.plain.onnx")


def test_a_graph_is_compared_once_in_a_process(fake: type[Fake]):
    for _ in range(3):
        assert isinstance(passed("a", PATH, 1), Fake)
    assert fake.made == ("f32", "bf16", "bf16", "bf16")
    passed("b", PATH, 1)
    assert fake.made[4:] == ("f32", "bf16")


@pytest.mark.parametrize("off", [BOUND * 1.01, 0.5, np.nan, np.inf])
def test_one_that_is_off_is_refused_each_time(
    fake: type[Fake], monkeypatch: pytest.MonkeyPatch, off: float
):
    monkeypatch.setattr(Fake, "off", off)
    for _ in range(2):
        with pytest.raises(EngineError) as error:
            passed("a", PATH, 1)
        assert str(error.value).startswith("unet.plain.onnx in bf16 is off by ")
        assert str(error.value).endswith(f"more than {BOUND}; use precision 'fp32'.")
    assert fake.made.count("f32") == 1


def test_one_that_is_just_within_is_let_through(fake: type[Fake], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Fake, "off", BOUND * 0.99)
    passed("a", PATH, 1)


def test_every_port_is_used():
    shapes = {
        "sample": (None, 4, 8, 8), "timestep": (None,), "text": (None, 7, 5),
        "route": (6, 3, None), "feature_route": (9, None),
        "mix.source": (None, 7, 7), "mix.own": (None, 7), "mix.row": (None,),
        "mix.sites": (5, None),
        "read.weights": (None, 2, 7), "read.sites": (5,),
        "region.query": (None, 8, 8), "region.key": (None, 8, 8), "region.sites": (6, None),
        "record.row": (1,), "added.text": (None, 9), "added.size": (None, 6),
    }  # fmt: skip
    ports = random_ports(shapes)
    assert ports.keys() == shapes.keys()
    for name, shape in shapes.items():
        assert ports[name].shape == tuple(2 if size is None else size for size in shape)
    for name in ("route", "feature_route"):
        assert set(ports[name].ravel()) == {0, 1}
    for name in ("mix.sites", "read.sites", "region.sites"):
        assert (ports[name] == 1).all()
    for name in ("region.query", "region.key"):
        assert set(ports[name].ravel()) == {0, 1}
    assert ports["added.size"].max() > 256
    # bf16 has 8 bits: a graph that rounds its timestep must not get away with it.
    assert all(int(t) % 2 for t in ports["timestep"])
    assert (ports["timestep"] > 256).all()


def test_a_replayed_row_can_be_read():
    shapes = {"sample": (None, 4, 8, 8), "source.text": (1, 7, 5), "read.weights": (None, 2, 7)}
    ports = random_ports(shapes)
    assert (len(ports["sample"]), len(ports["read.weights"])) == (2, 3)
    assert ports["source.text"].shape == (1, 7, 5)


@pytest.mark.usefixtures("needs_bf16")
def test_a_model_that_bf16_spoils_is_refused(tmp_path: Path):
    """Really run: products of 10,000 are known to a hundred at best, and their sine is noise."""
    nodes = [
        helper.make_node("MatMul", ["sample", "w"], ["y"]),
        helper.make_node("Mul", ["y", "much"], ["z"]),
        helper.make_node("Sin", ["z"], ["noise"]),
    ]
    for much, refused in ((0.01, False), (1e4, True)):
        held = {"w": WEIGHTS, "much": np.float32(much)}
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("sample", TensorProto.FLOAT, ["rows", 16])],
            [helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["rows", 4])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.save_model(model, tmp_path / "g.onnx")
        if refused:
            with pytest.raises(EngineError, match=r"g\.onnx in bf16 is off by"):
                passed(much, tmp_path / "g.onnx", 1)
        else:
            passed(much, tmp_path / "g.onnx", 1)
