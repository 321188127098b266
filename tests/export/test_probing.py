"""A port that moves nothing is found."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from scumble.errors import ModelError
from scumble.packs import read_manifest
from scumble.ports import PortSizes
from scumble_export.graph import declare
from scumble_export.pack import VARIANTS
from scumble_export.probing import LEAST, require_connected, sensitivity
from scumble_export.tracing import GraphRun

pytestmark = pytest.mark.thorough


def sizes_of(pack: Path) -> PortSizes:
    manifest = read_manifest(pack)
    shape = (manifest.channels, *manifest.latent)
    return PortSizes(shape, manifest.tokens, manifest.features, manifest.table())


@pytest.mark.parametrize("name", ["masked", "replaying"])
def test_every_port_of_a_real_graph_moves_it(pack: Path, name: str):
    declaration = declare(name, VARIANTS[name], sizes_of(pack), (1,))
    found = sensitivity(GraphRun(pack / f"unet.{name}.onnx"), declaration, declaration.taken)
    assert found.keys() == declaration.taken.keys()
    assert min(found.values()) > LEAST


def test_the_ports_of_a_group_at_once(pack: Path):
    declaration = declare("replaying", VARIANTS["replaying"], sizes_of(pack), (1,))
    graph = GraphRun(pack / "unet.replaying.onnx")
    base = declaration.examples(2, seed=3)
    found = sensitivity(
        graph, declaration, declaration.taken, base=(base, graph(base)), groups_at_once=True
    )
    assert found.keys() == {"sample", "timestep", "text", "route", "mix", "read", "replay"}
    assert min(found.values()) > LEAST


def test_an_input_that_leads_nowhere_is_refused():
    def model(*nodes: onnx.NodeProto) -> onnx.ModelProto:
        a, b, out = (
            helper.make_tensor_value_info(n, TensorProto.FLOAT, (1,)) for n in ("a", "b", "out")
        )
        return helper.make_model(helper.make_graph(nodes, "g", [a, b], [out]))

    add = helper.make_node("Add", ["a", "c"], ["out"])
    require_connected(model(helper.make_node("Neg", ["b"], ["c"]), add))
    with pytest.raises(ModelError, match="port 'b' leads to no output"):
        require_connected(
            model(helper.make_node("Neg", ["b"], ["d"]), helper.make_node("Neg", ["a"], ["c"]), add)
        )


def test_a_port_that_does_nothing_is_refused(pack: Path, tmp_path: Path):
    """The text is an input of this graph, and nothing is made of it."""
    declaration = declare("plain", (), sizes_of(pack), (1,))
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    inputs = [
        helper.make_tensor_value_info(name, kinds[dtype], axes)
        for name, (axes, dtype) in declaration.taken.items()
    ]
    noise = helper.make_tensor_value_info("noise", TensorProto.FLOAT, ("rows", 4, 16, 16))
    node = helper.make_node("Identity", ["sample"], ["noise"])
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [noise]),
        opset_imports=[helper.make_opsetid("", 21)], ir_version=10,
    )  # fmt: skip
    onnx.save(model, tmp_path / "deaf.onnx")
    graph = GraphRun(tmp_path / "deaf.onnx")
    assert sensitivity(graph, declaration, ["sample"])["sample"] > LEAST
    with pytest.raises(ModelError, match=r"port 'text' has no effect in deaf\.onnx"):
        sensitivity(graph, declaration, ["sample", "text"])
