"""Hand counts, and the count of torch on the modules that a pack was traced from."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from scumble import Editor
from scumble.errors import ModelError
from scumble.ports import Group
from scumble_bench.latency.limits.onnx_flops import count, count_file
from scumble_bench.latency.neutral_steps import neutral_ports

FLOAT = TensorProto.FLOAT


def info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, FLOAT, list(shape))


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


def model(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    given: onnx.ValueInfoProto,
    functions: list[onnx.FunctionProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "made", [given], [info("out", "n", "m")], weights)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions or [], ir_version=10)


def test_rows_are_set_and_bytes_are_those_of_what_is_read_and_written():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["out"])]
    made = model(nodes, [weight("w", 4, 5), weight("unused", 100)], info("x", "rows", 4))
    cost = count(made, 3)
    assert cost.flops == 2 * 3 * 4 * 5
    assert cost.by_operator == {"MatMul": cost.flops}
    assert cost.weights == 4 * 20
    assert cost.arguments == 4 * (3 * 4 + 3 * 5)
    assert cost.bytes == cost.weights + cost.arguments
    assert count(made, 6).flops == 2 * cost.flops
    assert made.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "rows"


def test_a_replayed_row_is_one_more():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["out"])]
    made = model(nodes, [weight("w", 4, 5)], info("x", "rows + 1", 4))
    assert count(made, 3).flops == 2 * 4 * 4 * 5


def test_a_function_counts_once_for_each_call():
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    function = helper.make_function("own", "product", ["a", "b"], ["c"], body,
                                    [helper.make_opsetid("", 23)])  # fmt: skip
    nodes = [
        helper.make_node("product", ["x", "w"], ["y"], domain="own"),
        helper.make_node("product", ["y", "w"], ["out"], domain="own"),
    ]
    made = model(nodes, [weight("w", 4, 4)], info("x", "rows", 4), [function])
    assert count(made, 3).flops == 2 * (2 * 3 * 4 * 4)


def test_a_slice_as_long_as_another_tensors_axis_is_followed():
    """As replaying graphs cut the recorded row off again."""
    nodes = [
        helper.make_node("Shape", ["x"], ["length"], start=0, end=1),
        helper.make_node("Slice", ["long", "zero", "length"], ["cut"]),
        helper.make_node("MatMul", ["cut", "w"], ["out"]),
    ]
    weights = [
        weight("long", 9, 4),
        weight("w", 4, 5),
        numpy_helper.from_array(np.zeros(1, np.int64), "zero"),
    ]
    assert count(model(nodes, weights, info("x", "rows", 2)), 3).flops == 2 * 3 * 4 * 5


def test_what_cannot_be_counted_is_refused():
    given = info("x", "rows", 4)
    nodes = [helper.make_node("Einsum", ["x", "w"], ["out"], equation="ab,bc->ac")]
    with pytest.raises(ModelError, match="Einsum"):
        count(model(nodes, [weight("w", 4, 5)], given), 3)
    nodes = [
        helper.make_node("NonZero", ["x"], ["where"]),
        helper.make_node("Cast", ["where"], ["y"], to=FLOAT),
        helper.make_node("MatMul", ["w", "y"], ["out"]),
    ]
    with pytest.raises(ModelError, match="cannot be told"):
        count(model(nodes, [weight("w", 4, 2)], given), 3)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["out"])]
    open_axis = model(nodes, [weight("w", 4, 5)], info("x", "width", 4))
    with pytest.raises(ModelError, match="'width'"):
        count(open_axis, 3)


@pytest.mark.thorough
@pytest.mark.parametrize("rows", [1, 3])
def test_a_variant_asks_for_what_torch_counts(small: Path, pack: Path, rows: int):
    """The same modules, once traced and once counted while they run."""
    variants: dict[str, tuple[Group, ...]] = {
        "plain": (),
        "routed": ("route", "mix"),
        "reading": ("route", "mix", "read"),
    }
    with Editor.load(small, engine="torch", device="cpu", threads=1) as editor:
        for variant, groups in variants.items():
            ports = neutral_ports(editor, groups, rows)
            counter = FlopCounterMode(display=False)
            # The fused attention of a CPU is none that torch counts.
            with sdpa_kernel(SDPBackend.MATH), counter:
                editor.session.engine.step(ports)
            found = count_file(pack / f"unet.{variant}.onnx", rows)
            assert found.flops == counter.get_total_flops(), variant
