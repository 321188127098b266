"""Each rule, with a minimal graph that breaks it and one that does not, and the runtimes' word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from scumble_engines.openvino.runtime import runtime as openvino
from scumble_export.lint_rules import ABSENT, RANDOM, RULES, RUNTIMES, SEQUENCES, Runtime
from scumble_export.linter import lint

FLOAT, INT64, DOUBLE = TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE
BFLOAT16, BOOL = TensorProto.BFLOAT16, TensorProto.BOOL

Port = tuple[str, int, Sequence[int | str] | None]
node = helper.make_node


def graph(
    nodes: Any, inputs: list[Port], outputs: list[Port], opset: int = 21, **weights: Any
) -> ModelProto:
    nodes = nodes if isinstance(nodes, list) else [nodes]
    held = [
        value
        if isinstance(value, TensorProto)
        else numpy_helper.from_array(np.asarray(value), name)
        for name, value in weights.items()
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        initializer=held,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return model


def scattered(op: str, **attributes: Any) -> ModelProto:
    places = np.array([[0], [1], [2]])
    if op == "ScatterElements":
        places = places.repeat(2, 1)
    return graph(
        node(op, ["x", "places", "x"], ["y"], name="n", **attributes),
        [("x", FLOAT, [3, 2])],
        [("y", FLOAT, [3, 2])],
        places=places,
    )


def in_type(kind: int, opset: int = 21) -> ModelProto:
    """A convolution in another type."""
    weights = helper.make_tensor("w", kind, [1, 1, 2, 2], np.full(4, 0.5))
    return graph(
        [
            node("Cast", ["x"], ["a"], to=kind),
            node("Conv", ["a", "w"], ["b"], name="n"),
            node("Cast", ["b"], ["y"], to=FLOAT),
        ],
        [("x", FLOAT, [1, 1, 3, 3])],
        [("y", FLOAT, None)],
        opset,
        w=weights,
    )


def summed(kind: int) -> ModelProto:
    """(x + k) - k."""
    return graph(
        [node("Add", ["x", "k"], ["z"]), node("Sub", ["z", "k"], ["y"])],
        [("x", kind, [3]), ("k", kind, [3])],
        [("y", kind, [3])],
    )


def added(number: int) -> ModelProto:
    return graph(
        node("Add", ["x", "k"], ["y"], name="n"),
        [("x", INT64, [3])],
        [("y", INT64, [3])],
        k=np.array([number]),
    )


def along(op: str, axes: str) -> ModelProto:
    """An operator whose axes are an input, an initializer, a constant, or computed of these."""
    given: list[Port] = [("x", FLOAT, [3, 1])]
    one = numpy_helper.from_array(np.array([1]))
    if axes == "given":
        given.append(("axes", INT64, [1]))
    before = {
        "constant": [node("Constant", [], ["axes"], value=one)],
        "computed": [node("Add", ["one", "zero"], ["axes"])],
    }
    held: dict[str, Any] = {"held": {"axes": [1]}, "computed": {"one": [1], "zero": [0]}}
    nodes = [*before.get(axes, []), node(op, ["x", "axes"], ["y"], name="n")]
    return graph(nodes, given, [("y", FLOAT, None)], **held.get(axes, {}))


def taken(op: str, inputs: list[str], output: int = FLOAT, **attributes: Any) -> ModelProto:
    """One operator on x, and on what it needs beside."""
    needed: dict[str, Any] = {"one": np.array(1), "yes": np.array([True, False, True])}
    return graph(
        node(op, inputs, ["y"], name="n", **attributes),
        [("x", FLOAT, [3])],
        [("y", output, None)],
        **{name: value for name, value in needed.items() if name in inputs},
    )


def split(to_sequence: bool) -> ModelProto:
    nodes = [node("Split", ["x"], ["a", "y"], num_outputs=2, name="n")]
    if to_sequence:
        nodes = [
            node("SplitToSequence", ["x", "two"], ["parts"], name="n"),
            node("SequenceAt", ["parts", "one"], ["y"], name="n"),
        ]
    weights: dict[str, Any] = {"one": 1, "two": 2} if to_sequence else {}
    return graph(nodes, [("x", FLOAT, [4])], [("y", FLOAT, None)], **weights)


def normalised(outputs: list[str]) -> ModelProto:
    return graph(
        node("LayerNormalization", ["x", "s"], outputs, name="n"),
        [("x", FLOAT, [3, 4])],
        [(name, FLOAT, None) for name in outputs],
        s=np.ones(4, np.float32),
    )


def attention(
    wide: int = 8, rank: int = 4, second: bool = False, state: bool = False, **attributes: Any
) -> ModelProto:
    shapes = {"q": [2, 2, 4, 8], "k": [2, 2, 4, 8], "v": [2, 2, 4, wide]}
    if rank == 3:
        shapes = {name: [2, 4, 16] for name in "qkv"}
        attributes |= {"q_num_heads": 2, "kv_num_heads": 2}
    outputs = ["y", "", "", "scores"] if second else ["y"]
    inputs = ["q", "k", "v"]
    if state:
        shapes |= {"old keys": [2, 2, 3, 8], "old values": [2, 2, 3, 8]}
        inputs += ["", "old keys", "old values"]
    return graph(
        node("Attention", inputs, outputs, name="n", **attributes),
        [(name, FLOAT, shape) for name, shape in shapes.items()],
        [(name, FLOAT, None) for name in outputs if name],
        23,
    )


def resized(mode: str = "nearest", way: str = "asymmetric", **attributes: Any) -> ModelProto:
    return graph(
        node(
            "Resize", ["x", "roi", "scales"], ["y"], name="n", mode=mode,
            coordinate_transformation_mode=way, nearest_mode="floor", **attributes,
        ),
        [("x", FLOAT, [1, 1, 4, 4])],
        [("y", FLOAT, None)],
        roi=np.array([0, 0, 0, 0, 1, 1, 0.5, 0.5], np.float32),
        scales=np.array([1, 1, 0.5, 0.5], np.float32),
    )  # fmt: skip


def branching() -> ModelProto:
    branches: dict[str, Any] = {
        f"{name}_branch": helper.make_graph(
            [node(op, ["x", "x"], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, FLOAT, [3])],
        )
        for name, op in (("then", "Add"), ("else", "Sub"))
    }
    return graph(
        node("If", ["c"], ["y"], name="n", **branches),
        [("x", FLOAT, [3]), ("c", BOOL, [])],
        [("y", FLOAT, [3])],
    )


@dataclass(frozen=True)
class Case:
    """One thing that breaks a rule.

    Attributes:
        runtimes: whose rule.
        words: of the rule's reason.
        bad: a graph that breaks it, in the nodes named n.
        good: one like it that does not.
        shown: the runtimes that can be seen to fail on it.
    """

    runtimes: tuple[Runtime, ...]
    words: str
    bad: ModelProto
    good: ModelProto
    shown: tuple[Runtime, ...] = ()


ORT: tuple[Runtime, ...] = ("onnxruntime",)
OV: tuple[Runtime, ...] = ("openvino",)
TRT: tuple[Runtime, ...] = ("tensorrt",)
CASES: dict[str, Case] = {
    # The race needs repeated rows and luck.
    "scatter, ort": Case(
        ORT, "race", scattered("ScatterND", reduction="add"), scattered("ScatterND")
    ),
    "scatter elements, ort": Case(
        ORT, "race", scattered("ScatterElements", reduction="mul"), scattered("ScatterElements")
    ),
    "scatter": Case(
        TRT, "silence", scattered("ScatterND", reduction="add"),
        scattered("ScatterND", reduction="none"), TRT,
    ),
    "scatter elements": Case(
        TRT, "silence", scattered("ScatterElements", reduction="max"),
        scattered("ScatterElements"), TRT,
    ),
    "bf16": Case(ORT, "bf16", in_type(BFLOAT16), in_type(TensorProto.FLOAT16), ORT),
    "bf16, newer": Case(ORT, "bf16", in_type(BFLOAT16, 22), in_type(FLOAT, 22), ORT),
    "random": Case(
        RUNTIMES, "random", taken("RandomNormalLike", ["x"]), taken("Identity", ["x"]), (*ORT, *OV)
    ),
    # Parsed by TensorRT, and computed as its table says.
    "doubles": Case((*OV, *TRT), "doubles", summed(DOUBLE), summed(FLOAT), OV),
    "large integers": Case(OV, "32 bits", added(2**40), added(2**31 - 2), OV),
    "negative integers": Case(OV, "32 bits", added(-(2**31) - 1), added(-(2**31)), OV),
    "axes": Case(
        (*OV, *TRT), "axes that", along("Unsqueeze", "given"), along("Unsqueeze", "computed"),
        (*OV, *TRT),
    ),
    "squeezed": Case((*OV, *TRT), "axes that", along("Squeeze", "given"), along("Squeeze", "held")),
    "reduced": Case(
        TRT, "axes or a depth", along("ReduceSum", "given"), along("ReduceSum", "held"), TRT
    ),
    "reduced, computed": Case(
        TRT, "axes or a depth", along("ReduceSum", "computed"), along("ReduceSum", "constant"), TRT
    ),
    "sequences": Case(TRT, "sequences", split(True), split(False), TRT),
    "absent": Case(
        TRT, "other operators", taken("Compress", ["x", "yes"]), taken("Neg", ["x"]), TRT
    ),
    "nonzero": Case(TRT, "CUDA graph", taken("NonZero", ["x"], INT64), taken("Abs", ["x"]), TRT),
    # Parsed, but its work cannot be captured.
    "if": Case(TRT, "CUDA graph", branching(), taken("Identity", ["x"])),
    "normalised": Case(TRT, "its mean", normalised(["y", "m", "d"]), normalised(["y"]), TRT),
    "attention, softcap": Case(TRT, "softcap", attention(softcap=2.0), attention(softcap=0.0), TRT),
    "attention, state": Case(TRT, "softcap", attention(state=True), attention(), TRT),
    "attention, scores": Case(TRT, "softcap", attention(second=True), attention(), TRT),
    # Read by TensorRT-RTX 1.7.1, and not by TensorRT 10.15.
    "attention, axes": Case(TRT, "softcap", attention(rank=3), attention(is_causal=1)),
    "attention, width": Case(TRT, "another width", attention(wide=10), attention(), TRT),
    "cropped": Case(
        (*OV, *TRT), "stretches", resized("linear", "tf_crop_and_resize"), resized("linear"),
        (*OV, *TRT),
    ),
    "kept in proportion": Case(
        (*OV, *TRT), "stretches", resized(keep_aspect_ratio_policy="not_larger"),
        resized(keep_aspect_ratio_policy="stretch"),
    ),
    "smoothed": Case(
        (*OV, *TRT), "stretches", resized("linear", "half_pixel", antialias=1),
        resized("linear", "half_pixel"), (*OV, *TRT),
    ),
    # Read by TensorRT-RTX 1.7.1, and not by TensorRT 10.15.
    "cubic": Case(TRT, "cubic", resized("cubic", "half_pixel"), resized("linear", "half_pixel")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_graph_that_breaks_a_rule_is_found_and_one_that_does_not_is_not(name: str):
    case = CASES[name]
    for runtime in RUNTIMES:
        found = [f for f in lint(case.bad, runtime) if case.words in f.reason]
        assert bool(found) == (runtime in case.runtimes)
        for finding in found:
            assert finding.runtime == runtime
            assert finding.op in {n.op_type for n in case.bad.graph.node}
            assert str(finding).count(". ") == 0
        assert not [f for f in lint(case.good, runtime) if case.words in f.reason]
    named = {n.name or n.output[0] for n in case.bad.graph.node}
    assert {f.node for f in lint(case.bad, case.runtimes[0])} <= named


def test_no_rule_is_without_a_graph():
    for rule in RULES:
        cases = [c for c in CASES.values() if c.words in rule.reason]
        assert any(set(rule.runtimes) <= set(c.runtimes) for c in cases), rule.reason
        assert rule.source


def test_every_operator_that_is_named_exists():
    for rule in RULES:
        for op in rule.ops or ():
            assert onnx.defs.has(op), op
    assert not SEQUENCES & ABSENT
    assert not RANDOM & ABSENT


def feed_of(model: ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feed: dict[str, np.ndarray] = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        random = rng.standard_normal(shape) + (1e9 if value.name == "k" else 0)
        feed[value.name] = np.ones(shape, kind) if kind.kind in "ib" else random.astype(kind)
    return feed


def in_onnxruntime(model: ModelProto, feed: dict[str, np.ndarray]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feed))


def in_openvino(model: ModelProto, feed: dict[str, np.ndarray]) -> list[Any]:
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    return list(compiled(feed).values())


def works(run: Callable[..., list[Any]], model: ModelProto) -> bool:
    """Return whether a runtime runs a graph and gives what the operators are defined to give."""
    feed = feed_of(model)
    try:
        found = run(model, feed)
    # Runtimes raise classes of their own, which have no common base but this.
    except Exception:
        return False
    wanted = ReferenceEvaluator(model).run(None, feed)
    return all(np.allclose(f, w, rtol=0, atol=1e-2) for f, w in zip(found, wanted, strict=True))


def seen_in(runtime: Runtime) -> list[str]:
    return [name for name, case in CASES.items() if runtime in case.shown]


RUN: dict[Runtime, Callable[..., list[Any]]] = {
    "onnxruntime": in_onnxruntime,
    "openvino": in_openvino,
}


@pytest.mark.parametrize(
    ("runtime", "name"), [(runtime, name) for runtime in RUN for name in seen_in(runtime)]
)
def test_the_runtime_does_what_the_rule_says(runtime: Runtime, name: str):
    """If this fails, a new version can do more, and the rule may go."""
    assert not works(RUN[runtime], CASES[name].bad)
    assert works(RUN[runtime], CASES[name].good)


@pytest.mark.parametrize("name", seen_in("tensorrt"))
def test_tensorrt_does_what_the_rule_says(name: str):
    """As above, by the parser of TensorRT-RTX, which needs no GPU."""
    tensorrt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    logger = tensorrt.Logger(tensorrt.Logger.INTERNAL_ERROR)
    builder = tensorrt.Builder(logger)
    for model, read in ((CASES[name].bad, False), (CASES[name].good, True)):
        network = builder.create_network(0)  # which the parser does not keep alive
        parser = tensorrt.OnnxParser(network, logger)
        assert parser.parse(model.SerializeToString()) == read
