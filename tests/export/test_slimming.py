"""A slim graph computes what it did, and is reached by the same names."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from scumble_export.slimming import drop_shapes, number_values

FLOAT = TensorProto.FLOAT


@pytest.fixture
def model() -> ModelProto:
    """`y = clip(x * w, max=high) + x * w`; an input is called as the second number would be."""
    nodes = [
        helper.make_node("Mul", ["x", "w"], ["the.product"], name="multiply"),
        helper.make_node("Dropout", ["the.product"], ["the.same", ""], name="drop"),
        helper.make_node("Clip", ["the.same", "", "1"], ["the.clipped"], name="clip"),
        helper.make_node("Add", ["the.clipped", "the.product"], ["y"], name="add"),
    ]
    infos = {n: helper.make_tensor_value_info(n, FLOAT, [2]) for n in ("x", "y", "the.product")}
    graph = helper.make_graph(
        nodes,
        "g",
        [infos["x"], helper.make_tensor_value_info("1", FLOAT, [])],
        [infos["y"]],
        [numpy_helper.from_array(np.array([2, 3], np.float32), "w")],
        value_info=[infos["the.product"]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def run(model: ModelProto) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = {"x": np.array([1, 5], np.float32), "1": np.array(7, np.float32)}
    return np.asarray(session.run(["y"], given)[0])


def test_values_are_numbered_and_nodes_nameless(model: ModelProto):
    before = run(model)
    number_values(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(run(model), before)
    assert [list(node.input) for node in model.graph.node] == [
        ["x", "0"], ["2"], ["3", "", "1"], ["4", "2"],
    ]  # fmt: skip
    assert [list(node.output) for node in model.graph.node] == [["2"], ["3", ""], ["4"], ["y"]]
    assert [weight.name for weight in model.graph.initializer] == ["0"]
    assert not any(node.name for node in model.graph.node)
    assert [value.name for value in model.graph.value_info] == ["2"]


def test_shapes_between_are_dropped(model: ModelProto):
    before = run(model)
    drop_shapes(model)
    assert not model.graph.value_info
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    np.testing.assert_array_equal(run(model), before)


def test_a_graph_with_others_inside_is_left_alone(model: ModelProto):
    """They may use its values by name."""
    inner = helper.make_graph([], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner))
    before = model.SerializeToString()
    number_values(model)
    assert model.SerializeToString() == before
