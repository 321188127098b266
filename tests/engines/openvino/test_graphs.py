"""What a graph is fed is checked, and its timesteps keep their digits in bf16."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scumble.errors import EngineError, OutOfMemoryError
from scumble_engines.openvino import graphs
from scumble_engines.openvino.graphs import Graph
from scumble_engines.openvino.runtime import runtime

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
FREQUENCIES = np.exp(-np.arange(8) * np.log(10000) / 8).astype(np.float32)
WEIGHTS = np.random.default_rng(2).standard_normal((16, 4)).astype(np.float32)

Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Writes a graph of some nodes, inputs and outputs."""

    def write(nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: Any) -> Path:
        held = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
        infos = [helper.make_tensor_value_info(*value) for value in (*inputs, *outputs)]
        graph = helper.make_graph(
            nodes, "g", infos[: len(inputs)], infos[len(inputs) :], initializer=held
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.save_model(model, tmp_path / "g.onnx")
        return tmp_path / "g.onnx"

    return write


@pytest.fixture
def product(save: Save) -> Path:
    """A graph of rows (rows, 16) times weights."""
    return save(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [("x", FLOAT, ["rows", 16])],
        [("y", FLOAT, ["rows", 4])],
        w=WEIGHTS,
    )


@pytest.fixture
def embedding(save: Save) -> Path:
    """Timesteps as a UNet embeds them, and a sine that comes after the weights."""
    nodes = [
        helper.make_node("Cast", ["timestep"], ["t"], to=FLOAT),
        helper.make_node("Unsqueeze", ["t", "last"], ["column"]),
        helper.make_node("Mul", ["column", "frequencies"], ["angles"]),
        helper.make_node("Sin", ["angles"], ["sin"]),
        helper.make_node("Cos", ["angles"], ["cos"]),
        helper.make_node("Concat", ["sin", "cos"], ["waves"], axis=1),
        helper.make_node("MatMul", ["waves", "w"], ["y"]),
        helper.make_node("Sin", ["y"], ["later"]),
    ]
    return save(
        nodes,
        [("timestep", INT64, ["rows"])],
        [("y", FLOAT, ["rows", 4]), ("later", FLOAT, ["rows", 4])],
        last=np.array([1]),
        frequencies=FREQUENCIES,
        w=WEIGHTS,
    )


@pytest.mark.parametrize("folded", ["40", "57"])
def test_a_port_is_found_though_a_cast_was_folded_into_it(save: Save, folded: str):
    path = save(
        [
            helper.make_node("Cast", ["row"], [folded], to=INT64),
            helper.make_node("Gather", ["w", folded], ["y"], axis=0),
        ],
        [("row", INT64, ["rows"])],
        [("y", FLOAT, ["rows", 4])],
        w=WEIGHTS,
    )
    graph = Graph(path, "f32", 1)
    assert graph.shapes == {"row": (None,)}
    assert np.array_equal(graph({"row": np.array([2, 0])})["y"], WEIGHTS[[2, 0]])


def test_a_graph_runs_with_any_rows(product: Path):
    graph = Graph(product, "f32", 1)
    assert graph.shapes == {"x": (None, 16)}
    for rows in (1, 5, 2):
        given = np.random.default_rng(rows).standard_normal((rows, 16)).astype(np.float32)
        assert np.allclose(graph({"x": given})["y"], given @ WEIGHTS, atol=1e-5)


def test_what_it_gave_is_not_changed_by_the_next_run(product: Path):
    graph = Graph(product, "f32", 1)
    first = graph({"x": np.ones((2, 16), np.float32)})["y"]
    kept = first.copy()
    graph({"x": np.zeros((2, 16), np.float32)})
    assert np.array_equal(first, kept)


def test_a_wrong_feed_is_refused(product: Path):
    graph = Graph(product, "f32", 1)
    right = {"x": np.ones((2, 16), np.float32)}
    graph(right)
    for feed, said in (
        ({}, r"g\.onnx wants the port 'x'"),
        ({**right, "z": np.zeros(1)}, r"g\.onnx lacks the port 'z'"),
        ({"x": np.ones((2, 17), np.float32)}, r"takes 'x' as \(None, 16\), .* was given \(2, 17\)"),
        ({"x": np.ones(16, np.float32)}, r"was given \(16,\)"),
    ):
        with pytest.raises(EngineError, match=said):
            graph(feed)


def test_openvino_itself_says_nothing_of_a_wrong_feed(product: Path):
    """The reason why the feed is checked here; if this fails, the check may go."""
    request = runtime.Core().compile_model(product, "CPU").create_infer_request()
    request.infer({"x": np.ones((2, 16), np.float32)})
    (again,) = request.infer({}).values()
    assert again.shape == (2, 4)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, save: Save):
    odd = save(
        [helper.make_node("Strange", ["x"], ["y"], domain="of.nobody")],
        [("x", FLOAT, [1])],
        [("y", FLOAT, [1])],
    )
    for path in (odd, tmp_path / "none.onnx"):
        with pytest.raises(EngineError) as error:
            Graph(path, "f32", 1)
        text = str(error.value)
        assert text.startswith(f"openvino {runtime.__version__} cannot load {path.name} (")
        assert not isinstance(error.value, OutOfMemoryError)
        assert text.endswith("; update openvino, or export the model anew with --opset 21.")
        assert "\n" not in text
        assert ".cpp" not in text


@pytest.mark.parametrize("raised", [MemoryError(), RuntimeError("Exception\nstd::bad_alloc")])
def test_lack_of_memory_is_told_apart(
    product: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception
):
    def full(*_: object) -> None:
        raise raised

    graph = Graph(product, "f32", 1)
    monkeypatch.setattr(graphs, "_infer", full)
    with pytest.raises(OutOfMemoryError, match=r"could not run g\.onnx: memory ran out; free some"):
        graph({"x": np.ones((2, 16), np.float32)})
    monkeypatch.setattr(runtime.Core, "compile_model", full)
    with pytest.raises(OutOfMemoryError, match=r"cannot load g\.onnx: memory ran out"):
        Graph(product, "f32", 1)


def test_another_failure_is_one_sentence(product: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError("Exception from src/a.cpp:1:\nCheck 'x' failed at b.cpp\nToo much.\n")

    graph = Graph(product, "f32", 1)
    monkeypatch.setattr(graphs, "_infer", broken)
    with pytest.raises(EngineError) as error:
        graph({"x": np.ones((2, 16), np.float32)})
    assert str(error.value) == "openvino could not run g.onnx (Too much); export the model anew."


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("EXECUTION_DEVICES", ["GPU"], "on GPU in f32 though CPU and f32"),
        ("INFERENCE_PRECISION_HINT", runtime.Type.f16, "on CPU in f16 though CPU and f32"),
    ],
)
def test_what_runs_otherwise_than_asked_is_refused(
    product: Path, monkeypatch: pytest.MonkeyPatch, what: str, value: object, said: str
):
    asked = runtime.CompiledModel.get_property
    monkeypatch.setattr(
        runtime.CompiledModel,
        "get_property",
        lambda self, name: value if name == what else asked(self, name),
    )
    with pytest.raises(EngineError, match=f"runs g.onnx {said} were asked for"):
        Graph(product, "f32", 1)


def test_threads_are_as_many_as_were_asked_for(product: Path):
    (request,) = Graph(product, "f32", 1)._requests
    assert request.get_compiled_model().get_property("INFERENCE_NUM_THREADS") == 1


@pytest.mark.usefixtures("needs_bf16")
def test_timesteps_keep_their_digits_in_bf16(embedding: Path, monkeypatch: pytest.MonkeyPatch):
    feed = {"timestep": np.array([257, 515, 999])}
    angles = feed["timestep"][:, None] * FREQUENCIES
    wanted = np.concatenate([np.sin(angles), np.cos(angles)], axis=1) @ WEIGHTS
    scale = np.abs(wanted).max()
    graph = Graph(embedding, "bf16", 1)
    assert graph.shapes == {"timestep": (None,)}
    found = graph(feed)
    assert 0 < np.abs(found["y"] - wanted).max() < 0.02 * scale
    assert np.abs(found["later"] - np.sin(wanted)).max() < 0.05
    monkeypatch.setattr(graphs, "_take_out_angles", lambda _: None)
    assert np.abs(Graph(embedding, "bf16", 1)(feed)["y"] - wanted).max() > 0.2 * scale


def test_only_what_comes_before_the_weights_is_taken_out(embedding: Path):
    model = runtime.Core().read_model(embedding)
    angles = graphs._take_out_angles(model)
    kinds = [node.get_type_name() for node in angles.get_ops()]
    assert (kinds.count("Sin"), kinds.count("Cos"), kinds.count("MatMul")) == (1, 1, 0)
    left = [node.get_type_name() for node in model.get_ops()]
    assert (left.count("Sin"), left.count("Cos"), left.count("MatMul")) == (1, 0, 1)


@pytest.mark.usefixtures("needs_bf16")
def test_a_timestep_that_is_used_twice_stays_an_input(save: Save):
    path = save(
        [
            helper.make_node("Cast", ["timestep"], ["t"], to=FLOAT),
            helper.make_node("Sin", ["t"], ["sin"]),
            helper.make_node("Add", ["sin", "t"], ["y"]),
        ],
        [("timestep", INT64, ["rows"])],
        [("y", FLOAT, ["rows"])],
    )
    found = Graph(path, "bf16", 1)({"timestep": np.array([3, 8])})
    assert np.allclose(found["y"], [3 + np.sin(3), 8 + np.sin(8)], rtol=0.01)


def test_a_graph_without_timesteps_is_left_alone(product: Path):
    assert graphs._take_out_angles(runtime.Core().read_model(product)) is None
