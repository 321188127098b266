"""Graphs are parsed and built for GPUs that are not here, for real."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from scumble.errors import EngineError, ModelError
from scumble.models import find_checkpoint
from scumble.packs import Manifest
from scumble_engines.tensorrt.building import build
from scumble_engines.tensorrt.cuda import open_device
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.orders import Order, flags_of, parts_of
from scumble_engines.tensorrt.targets import read_targets
from scumble_engines.tensorrt.worker import build_apart

pytestmark = pytest.mark.thorough
Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]


@pytest.fixture
def order(library: Library, pack: Path, manifest: Manifest) -> Order:
    return Order(pack, manifest, "plain", read_targets("sm89", library, None)[0], stripped=False)


@pytest.fixture
def instead(order: Order, tmp_path: Path) -> Callable[[onnx.ModelProto], Order]:
    """Makes an order for another graph."""

    def make(model: onnx.ModelProto) -> Order:
        onnx.save_model(model, tmp_path / order.path.name)
        shutil.copy(order.folder / "manifest.json", tmp_path)
        return replace(order, folder=tmp_path)

    return make


def model(nodes: list[onnx.NodeProto], **shapes: list[int | str]) -> onnx.ModelProto:
    """A graph of floats whose values are named and shaped; those no node makes are inputs."""
    made = {name for node in nodes for name in node.output}
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    graph = helper.make_graph(
        nodes,
        "graph",
        [one for name, one in info.items() if name not in made],
        [one for name, one in info.items() if name in made],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


@pytest.mark.parametrize("part", ["plain", "routed"])
def test_a_graph_is_built_with_its_weights(library: Library, order: Order, part: str):
    """As the engine holds them, so it is larger than the file, where they are halves."""
    told: list[tuple[str, float]] = []
    order = replace(order, part=part)
    data = build(library, order, lambda what, share: told.append((what, share)))
    assert data.nbytes > (order.folder / "weights.bin").stat().st_size
    assert told[0] == ("reading the graph", 0.0)
    shares = [share for what, share in told if what == "building"]
    assert len(shares) > 100
    assert 0 <= min(shares) <= max(shares) <= 1
    assert max(shares) > 0.5


def test_rows_beyond_the_profile_are_not_built_for(
    library: Library, order: Order, monkeypatch: pytest.MonkeyPatch
):
    """The profile reaches TensorRT: it refuses one that is upside down."""
    monkeypatch.setattr(
        "scumble_engines.tensorrt.profiles.Profile.counts", property(lambda self: (8, 3, 1))
    )
    with pytest.raises((EngineError, RuntimeError, ValueError)):
        build(library, order)


def test_what_tensorrt_is_told(library: Library, order: Order):
    """One target, strongly typed, the flags of the key and no TF32."""
    api, told = library.api, dict[str, object]()

    class Builder:
        def __init__(self, logger: object) -> None:
            self.real = api.Builder(logger)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

        def build_serialized_network(self, network: Any, config: Any) -> None:
            flags = {
                name: config.get_flag(kind) for name, kind in api.BuilderFlag.__members__.items()
            }
            told["flags"] = tuple(name for name, on in flags.items() if on)
            told["typed"] = network.get_flag(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
            told["targets"] = [config.get_compute_capability(i)
                               for i in range(config.num_compute_capabilities)]  # fmt: skip

    watched = replace(library, api=SimpleNamespace(**{**vars(api), "Builder": Builder}))
    with pytest.raises(EngineError, match="cannot be built for sm89: it does not say why"):
        build(watched, order)
    assert told["flags"] == flags_of(library, order)
    assert told["typed"]
    assert told["targets"] == [api.ComputeCapability.SM89]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm89", "sm120"])
def test_every_graph_is_built(library: Library, order: Order, target: str):
    kind = read_targets(target, library, None)[0]
    for part in parts_of(order.manifest):
        one = replace(order, part=part, target=kind)
        assert len(build_apart(library, one)) > 500_000, part


@pytest.mark.slow
def test_graphs_in_half_precision_are_built(library: Library, small: Path, tmp_path: Path):
    """What reads maps beside fused attention, and what derives a loss, are the delicate ones."""
    from scumble_export.pack import export_pack

    parts = ("reading", "replaying", "guiding")
    folder = tmp_path / "half"
    manifest = export_pack(find_checkpoint(small), folder, precision="fp16", variants=parts)
    kind = read_targets("sm89", library, None)[0]
    for part in parts:
        assert (
            len(build_apart(library, Order(folder, manifest, part, kind, stripped=False))) > 500_000
        ), part


def test_an_attention_in_single_precision_is_taken_apart(
    library: Library, instead: Callable[[onnx.ModelProto], Order]
):
    """There is no fused kernel for it; TensorRT fails unless it may take it apart."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="n")
    sides = {name: ["rows", 2, 64, 16] for name in ("q", "k", "v", "y")}
    assert build(library, instead(model([node], **sides))).nbytes > 100_000


def test_a_refused_node_is_named_with_its_reason(
    library: Library, instead: Callable[[onnx.ModelProto], Order], one_sentence: Sentence
):
    node = helper.make_node("LayerNormalization", ["x", "s"], ["y", "mean"], name="norm_1")
    order = instead(model([node], x=["rows", 8], s=[8], y=["rows", 8], mean=["rows", 1]))
    with pytest.raises(ModelError) as error:
        build(library, order)
    text = one_sentence(error)
    assert "refuses unet.plain.onnx at node 'norm_1' (LayerNormalization)" in text


def test_a_reason_behind_the_first_line_is_found(
    library: Library, instead: Callable[[onnx.ModelProto], Order], one_sentence: Sentence
):
    """TensorRT's attention wants values as wide as keys."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="n")
    wide, narrow = ["rows", 2, 64, 16], ["rows", 2, 64, 2]
    with pytest.raises(ModelError) as error:
        build(library, instead(model([node], q=wide, k=wide, v=narrow, y=narrow)))
    assert "at node 'n' (Attention)" in str(error.value)
    assert "Key and Value must have the same shape" in str(error.value)


@pytest.mark.parametrize("damage", ["junk", "gone", "weights"])
def test_a_graph_that_cannot_be_read_says_so(
    library: Library, order: Order, tmp_path: Path, damage: str, one_sentence: Sentence
):
    shutil.copy(order.path, tmp_path)
    if damage == "junk":
        (tmp_path / order.path.name).write_bytes(b"junk" * 100)
    elif damage == "gone":
        (tmp_path / order.path.name).unlink()
    with pytest.raises(ModelError, match=r"unet\.plain\.onnx") as error:
        build(library, replace(order, folder=tmp_path))
    one_sentence(error)


def test_an_open_axis_of_another_name_is_refused(
    library: Library, instead: Callable[[onnx.ModelProto], Order]
):
    order = instead(
        model([helper.make_node("Relu", ["x"], ["y"])], x=["height", 4], y=["height", 4])
    )
    with pytest.raises(EngineError, match="port 'x' is open along height"):
        build(library, order)


def test_a_plan_without_weights_is_built_where_a_gpu_is(
    library: Library, instead: Callable[[onnx.ModelProto], Order], one_sentence: Sentence
):
    """Without one, TensorRT-RTX 1.4 to 1.7.1 fails on the first matrix product."""
    weights = numpy_helper.from_array(np.ones((64, 64), np.float32), "w")
    graph = model([helper.make_node("MatMul", ["x", "w"], ["y"])], x=["rows", 64], y=["rows", 64])
    graph.graph.initializer.append(weights)
    order = instead(graph)
    stripped = replace(order, stripped=True)
    if open_device(0) is not None:
        assert len(build_apart(library, stripped)) < build(library, order).nbytes
        return
    # In a process of its own: after such a failure TensorRT-RTX builds for no other target.
    with pytest.raises(EngineError, match="for sm89 without its weights, for which") as error:
        build_apart(library, stripped)
    assert "needs a GPU; build it with them" in one_sentence(error)
