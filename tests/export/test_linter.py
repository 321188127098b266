"""Every node of a graph is looked at, and the graphs of a pack are as clean as is said."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from scumble.errors import ModelError
from scumble.packs import check_files, read_manifest
from scumble_export.lint_rules import OPSETS, RUNTIMES, Runtime
from scumble_export.linter import Finding, lint
from scumble_export.weights import WEIGHTS

FLOAT = TensorProto.FLOAT
X = helper.make_tensor_value_info("x", FLOAT, [3])
Y = helper.make_tensor_value_info("y", FLOAT, [3])


def model_of(*nodes: onnx.NodeProto, opset: int = 21, domains: tuple[str, ...] = ()) -> ModelProto:
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_graph(list(nodes), "g", [X], [Y])
    return helper.make_model(made, opset_imports=imports, ir_version=10)


NEG = helper.make_node("Neg", ["x"], ["y"])
DRAW = helper.make_node("RandomNormalLike", ["x"], ["y"], name="draw")


def test_a_finding_is_one_sentence():
    (found,) = lint(model_of(DRAW), "openvino")
    assert (found.runtime, found.node, found.op) == ("openvino", "draw", "RandomNormalLike")
    assert str(found) == (
        "openvino: RandomNormalLike 'draw' draws random numbers, so that no two runtimes agree; "
        "feed them as an input."
    )


def test_a_node_without_a_name_is_named_by_its_output():
    nameless = helper.make_node("RandomNormalLike", ["x"], ["y"])
    assert [f.node for f in lint(model_of(nameless), "openvino")] == ["y"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_opset_is_one_that_is_read(runtime: Runtime):
    oldest, newest = OPSETS[runtime]
    for opset in (oldest, 21, 23, newest):
        assert not lint(model_of(NEG, opset=opset), runtime)
    for opset in (oldest - 1, newest + 1):
        (found,) = lint(model_of(NEG, opset=opset), runtime)
        assert str(found) == (
            f"{runtime}: graph 'g' is of opset {opset} and {oldest} to {newest} are read; "
            "use --opset 21."
        )


def test_operators_of_other_domains_are_found():
    gelu = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft", name="n")
    model = model_of(gelu, domains=("com.microsoft",))
    assert not lint(model, "onnxruntime")
    for runtime in ("openvino", "tensorrt"):
        (found,) = lint(model, runtime)
        assert found.reason == "is of the domain 'com.microsoft', of which nothing is promised"
    odd = helper.make_node("Gelu", ["x"], ["y"], domain="odd")
    for runtime in RUNTIMES:
        assert len(lint(model_of(odd, domains=("odd",)), runtime)) == 1


def test_functions_of_the_model_are_known_and_looked_into():
    call = helper.make_node("Own", ["x"], ["y"], domain="own")
    model = model_of(call, domains=("own",))
    assert len(lint(model, "openvino")) == 1
    opsets = [helper.make_opsetid("", 21)]
    for inner, count in ((NEG, 0), (DRAW, 1)):
        del model.functions[:]
        model.functions.append(helper.make_function("own", "Own", ["x"], ["y"], [inner], opsets))
        assert len(lint(model, "openvino")) == count


def test_graphs_within_the_graph_are_looked_into():
    condition = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(1)))
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node(op, ["x"], [name], name=name)],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, [3])],
        )
        for name, op in (("then", "RandomNormalLike"), ("else", "Neg"))
    }
    cast = helper.make_node("Cast", ["c"], ["b"], to=TensorProto.BOOL)
    model = model_of(condition, cast, helper.make_node("If", ["b"], ["y"], **branches))
    assert [f.node for f in lint(model, "openvino")] == ["then"]


def test_types_and_shapes_are_inferred():
    """The exporter may leave them out; a cast and what follows it are known all the same."""
    model = model_of(
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("Neg", ["wide"], ["same"]),
        helper.make_node("Abs", ["same"], ["odd"], name="last"),
        helper.make_node("Cast", ["odd"], ["y"], to=FLOAT, name="back"),
    )
    assert [f.node for f in lint(model, "openvino")] == ["same", "last", "back"]


def test_numbers_that_are_outside_are_not_looked_for():
    weights = numpy_helper.from_array(np.array([2**40]), "k")
    model = model_of(
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Add", ["i", "k"], ["s"], name="add"),
        helper.make_node("Cast", ["s"], ["y"], to=FLOAT),
    )
    model.graph.initializer.append(weights)
    assert [f.node for f in lint(model, "openvino")] == ["add"]
    (held,) = model.graph.initializer
    held.ClearField("raw_data")
    held.data_location = TensorProto.EXTERNAL
    held.external_data.add(key="location", value=WEIGHTS)
    assert not lint(model, "openvino")


def kept_at(place: str | None, where: str) -> ModelProto:
    """A model with a tensor outside of it: an initializer, or in a branch of an `If`."""
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    if place is not None:
        tensor.external_data.add(key="location", value=place)
    if where == "graph":
        model = model_of(helper.make_node("Add", ["x", "w"], ["y"]))
        model.graph.initializer.append(tensor)
        return model
    value = helper.make_tensor_value_info("w", FLOAT, [3])
    if where == "constant":
        constant = helper.make_node("Constant", [], ["w"], value=tensor)
        branch = helper.make_graph([constant], "b", [], [value])
    else:
        branch = helper.make_graph([], "b", [], [value], [tensor])
    node = helper.make_node("If", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("then_branch", branch))
    return model_of(node)


@pytest.mark.parametrize("where", ["graph", "branch", "constant"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_tensor_that_is_kept_elsewhere_is_found(runtime: Runtime, where: str):
    places = ("../weights.bin", "/etc/hostname", "a/../../b", "w.bin", "a/weights.bin", "", None)
    for place in places:
        found = [f for f in lint(kept_at(place, where), runtime) if f.op == "tensor"]
        assert [str(f) for f in found] == [
            f"{runtime}: tensor 'w' is kept in {place or ''!r}, and a pack keeps all in {WEIGHTS}."
        ]
    assert not [f for f in lint(kept_at(WEIGHTS, where), runtime) if f.op == "tensor"]


@pytest.mark.thorough
def test_a_graph_whose_weights_lie_outside_is_no_longer_what_was_exported(
    pack: Path, tmp_path: Path
):
    """The exporter writes none such; the checksum of the graph tells one that was made since."""
    copy = Path(shutil.copytree(pack, tmp_path / "pack"))
    model = onnx.load(copy / "unet.plain.onnx", load_external_data=False)
    outside = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    (tmp_path / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes())
    for tensor in outside:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = f"../{WEIGHTS}"
    (copy / "unet.plain.onnx").write_bytes(model.SerializeToString())
    for runtime in RUNTIMES:
        assert len(lint(model, runtime)) == len(outside) > 10
    with pytest.raises(ModelError, match=r"'unet\.plain\.onnx' of pack 'pack' is not the file"):
        check_files(copy, read_manifest(copy))


def test_a_gather_of_rows_is_fine():
    """It is what routing is; what its gradient makes of it is not."""
    gathers = [
        helper.make_node("Gather", ["x", "i"], ["z"], axis=0),
        helper.make_node("GatherND", ["z", "places"], ["y"]),
    ]
    model = model_of(*gathers)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 0, 0]), "i"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([[1], [1], [0]]), "places"))
    for runtime in RUNTIMES:
        assert not lint(model, runtime)


WIDER = "has values of another width than its keys; attend to them apart, or use opset 21"


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_graphs_of_a_pack_are_clean(pack: Path, runtime: Runtime):
    for path in sorted(pack.glob("*.onnx")):
        found: list[Finding] = lint(onnx.load(path, load_external_data=False), runtime)
        assert not [str(f) for f in found if (runtime, f.reason) != ("tensorrt", WIDER)], path.name
