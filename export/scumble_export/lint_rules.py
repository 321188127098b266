"""What runtimes are known to refuse or to get wrong in ONNX graphs: a table.

A rule says where it is from: a table of the runtime's makers, or what a minimal graph did here.
"Tried" means ONNX Runtime 1.31.1, OpenVINO 2026.4.1 and the parser of TensorRT-RTX 1.7.1; where
these are installed, the tests try each rule again.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from onnx import NodeProto, TensorProto, helper

__all__ = ["OPSETS", "RULES", "RUNTIMES", "Rule", "Runtime", "Shape", "Values", "attribute"]

Runtime = Literal["onnxruntime", "openvino", "tensorrt"]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino", "tensorrt")

Shape = tuple[int | None, ...]
"""Sizes of a value's axes; None where one is open."""

OPSETS: dict[Runtime, tuple[int, int]] = {
    "onnxruntime": (7, 25),  # tried with 1.24.1, the oldest that is allowed
    "openvino": (7, 23),  # packs of 21 and 23 were run with 2026.2.1 to 2026.4.1, newer were not
    "tensorrt": (9, 24),  # onnx-tensorrt, docs/operators.md of TensorRT 10.15
}
"""Runtime -> oldest and newest opset that it reads."""

TABLE = "onnx-tensorrt, docs/operators.md of TensorRT 10.15"
SEQUENCES = frozenset({
    "ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement", "SequenceAt",
    "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SequenceMap", "SplitToSequence",
})  # fmt: skip
ABSENT = frozenset({
    "AffineGrid", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor",
    "CenterCropPad", "Col2Im", "Compress", "ConvInteger", "DFT", "Det", "DynamicQuantizeLinear",
    "ImageDecoder", "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix",
    "NegativeLogLikelihoodLoss", "QLinearConv", "QLinearMatMul", "RegexFullMatch",
    "SoftmaxCrossEntropyLoss", "StringConcat", "StringNormalizer", "StringSplit",
    "TfIdfVectorizer", "Unique",
})  # fmt: skip
RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip
CONSTANTLY = frozenset({
    "CumSum", "OneHot", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
    "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
})  # fmt: skip
MOVES = frozenset({
    "Cast", "Concat", "Gather", "Identity", "LayerNormalization", "Reshape", "Slice", "Transpose",
})  # fmt: skip
"""What ONNX Runtime's CPU does to bf16 as to anything else."""
STRETCHES = (
    "align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn",
)  # fmt: skip


@dataclass(slots=True)
class Values:
    """What is known of the values of a graph, by name.

    Attributes:
        types: ONNX element types.
        shapes: where they are known.
        held: initializers and constants.
        constants: these and what is computed of them alone; None where the numbers are not at hand.
    """

    types: dict[str, int] = field(default_factory=dict[str, int])
    shapes: dict[str, Shape] = field(default_factory=dict[str, Shape])
    held: set[str] = field(default_factory=set[str])
    constants: dict[str, np.ndarray | None] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that runtimes are known to refuse or to get wrong.

    Attributes:
        runtimes: those that do.
        ops: the operators concerned; None for all.
        breaks: whether a node does it.
        reason: as of a `Finding`.
        source: where it is known from.
    """

    runtimes: tuple[Runtime, ...]
    ops: frozenset[str] | None
    breaks: Callable[[NodeProto, Values], bool]
    reason: str
    source: str


def attribute(node: NodeProto, name: str, default: Any = None) -> Any:
    """Return the value of a node's attribute, or a default."""
    found = (helper.get_attribute_value(a) for a in node.attribute if a.name == name)
    return next(found, default)


def _text(node: NodeProto, name: str, default: str) -> str:
    return attribute(node, name, default.encode()).decode()


def _always(_node: NodeProto, _values: Values) -> bool:
    return True


def _reduces(node: NodeProto, _values: Values) -> bool:
    return _text(node, "reduction", "none") != "none"


def _gives_more_than_one(node: NodeProto, _values: Values) -> bool:
    return sum(map(bool, node.output)) > 1


def _second_input_varies(node: NodeProto, values: Values) -> bool:
    return len(node.input) > 1 and bool(node.input[1]) and node.input[1] not in values.constants


def _second_input_is_not_held(node: NodeProto, values: Values) -> bool:
    return len(node.input) > 1 and bool(node.input[1]) and node.input[1] not in values.held


def _reads(kind: int) -> Callable[[NodeProto, Values], bool]:
    return lambda node, values: any(values.types.get(name) == kind for name in node.input)


def _computes_in_bf16(node: NodeProto, values: Values) -> bool:
    return node.op_type not in MOVES and _reads(TensorProto.BFLOAT16)(node, values)


def _has_large_integers(node: NodeProto, values: Values) -> bool:
    # The end of a slice is often the largest number there is, and clamped it means the same.
    if node.op_type == "Slice":
        return False
    given = (values.constants.get(name) for name in node.input)
    limits = np.iinfo(np.int32)
    return any(
        array is not None
        and array.dtype == np.int64
        and bool(((array < limits.min) | (array > limits.max)).any())
        for array in given
    )


def _attends_otherwise(node: NodeProto, values: Values) -> bool:
    return (
        any(len(values.shapes.get(name, "any!")) != 4 for name in node.input[:4])
        or any(node.input[4:])
        or _gives_more_than_one(node, values)
        or attribute(node, "softcap", 0.0) != 0.0
    )


def _has_wider_values(node: NodeProto, values: Values) -> bool:
    key, value = (values.shapes.get(name, (None,))[-1] for name in node.input[1:3])
    return key is not None and value is not None and key != value


def _stretches_otherwise(node: NodeProto, _values: Values) -> bool:
    return (
        _text(node, "coordinate_transformation_mode", "half_pixel") not in STRETCHES
        or bool(attribute(node, "antialias", 0))
        or _text(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
    )


def _is_cubic(node: NodeProto, _values: Values) -> bool:
    return _text(node, "mode", "nearest") == "cubic"


RULES: tuple[Rule, ...] = (
    Rule(
        ("onnxruntime",),
        frozenset({"ScatterND", "ScatterElements"}),
        _reduces,
        "adds to rows that may repeat, where CPU threads race: what a gradient makes of a gather "
        "of rows; feed the gathered rows as inputs",
        "ScatterND(add) with indices 0, 1, 1, 1 gave 2 wrong results of 400 in 1.31.1",
    ),
    Rule(
        ("tensorrt",),
        frozenset({"ScatterND", "ScatterElements"}),
        _reduces,
        "reduces, which is refused and in older versions left out in silence: what a gradient "
        "makes of a gather of rows; feed the gathered rows as inputs",
        f"{TABLE}; onnx-tensorrt issue 957; tried",
    ),
    Rule(
        ("onnxruntime",),
        None,
        _computes_in_bf16,
        "has no kernel for bf16 on the CPU; export in fp32 or fp16",
        "tried: NOT_IMPLEMENTED, and INVALID_GRAPH for Conv below opset 22",
    ),
    Rule(
        RUNTIMES,
        RANDOM,
        _always,
        "draws random numbers, so that no two runtimes agree; feed them as an input",
        "tried: ONNX Runtime and OpenVINO draw other numbers than the reference",
    ),
    Rule(
        ("openvino", "tensorrt"),
        None,
        _reads(TensorProto.DOUBLE),
        "reads doubles, which are computed in single precision; cast to float32 before",
        f"{TABLE}; tried: OpenVINO gives 0 for (0.5 + 1e9) - 1e9",
    ),
    Rule(
        ("openvino",),
        None,
        _has_large_integers,
        "has an integer beyond 32 bits, which is clamped; keep integers within 32 bits",
        "tried: adding 2 ** 40 gives -2 ** 31",
    ),
    Rule(
        ("openvino", "tensorrt"),
        frozenset({"Squeeze", "Unsqueeze"}),
        _second_input_varies,
        "takes axes that are no constant; make them one",
        f"{TABLE}; tried: OpenVINO loses the rank and cannot compile",
    ),
    Rule(
        ("tensorrt",),
        CONSTANTLY,
        _second_input_is_not_held,
        "takes axes or a depth that are no initializer; make them one",
        f"{TABLE}; tried with ReduceSum, where a sum of constants is refused too",
    ),
    Rule(
        ("tensorrt",),
        SEQUENCES,
        _always,
        "works on sequences, which are not read; export with real weights, so that the graph is "
        "optimised and they go away",
        f"{TABLE}; tried",
    ),
    Rule(("tensorrt",), ABSENT, _always, "is not read; write it in other operators", TABLE),
    Rule(
        ("tensorrt",),
        frozenset({"If", "Loop", "NonMaxSuppression", "NonZero", "Scan"}),
        _always,
        "has a course or a shape that its data decide, which no CUDA graph holds; compute it on "
        "the host, or make the shape fixed",
        "TensorRT-RTX 1.2 release notes, isStreamCapturable; tried: NonZero is not read",
    ),
    Rule(
        ("tensorrt",),
        frozenset({"LayerNormalization"}),
        _gives_more_than_one,
        "gives its mean or deviation too, which is not read; write these in other operators",
        f"{TABLE}; tried",
    ),
    Rule(
        ("tensorrt",),
        frozenset({"Attention"}),
        _attends_otherwise,
        "is more than attention of four axes without state or softcap; use four axes, or opset 21",
        f"{TABLE}; tried with softcap and with a second output",
    ),
    Rule(
        ("tensorrt",),
        frozenset({"Attention"}),
        _has_wider_values,
        "has values of another width than its keys; attend to them apart, or use opset 21",
        "tried: Key and Value must have the same shape",
    ),
    Rule(
        ("openvino", "tensorrt"),
        frozenset({"Resize"}),
        _stretches_otherwise,
        "stretches in a way that is refused or smoothed otherwise; use nearest and asymmetric",
        f"{TABLE}; tried: OpenVINO refuses two of the modes and gets antialias wrong",
    ),
    Rule(
        ("tensorrt",),
        frozenset({"Resize"}),
        _is_cubic,
        "is cubic, which is not read; use nearest or linear",
        TABLE,
    ),
)
"""Every rule."""
