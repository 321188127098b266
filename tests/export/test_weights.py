"""The one weight file: equal bytes once, halves where exact, and always readable at once."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from scumble_export.weights import ALIGNMENT, WEIGHTS, WeightFile


def graph(**weights: np.ndarray) -> ir.Model:
    """A model that gives its weights out."""
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", [name], [f"{name}.out"]) for name in weights],
            "g",
            [],
            [
                helper.make_tensor_value_info(f"{name}.out", kinds[array.dtype], array.shape)
                for name, array in weights.items()
            ],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    return ir.from_proto(proto)


def run(model: onnx.ModelProto, path: Path) -> list[np.ndarray]:
    onnx.save_model(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return [np.asarray(value) for value in session.run(None, {})]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_weights_round_trip_bit_for_bit(tmp_path: Path, rng: np.random.Generator):
    exact = rng.standard_normal(1000).astype(np.float16).astype(np.float32)
    exact[:4] = -0.0, np.inf, 65504, 6e-8
    exact[3] = np.float32(np.float16(6e-8))  # subnormal in half precision
    wide = rng.standard_normal(1000).astype(np.float32)
    wide[0] = 1e20
    index = rng.integers(-(2**40), 2**40, 100)
    weights = WeightFile(tmp_path)
    model = weights.take(graph(exact=exact, wide=wide, index=index))
    assert weights.size < 2000 + 4000 + 800 + 3 * ALIGNMENT
    for given, found in zip((exact, wide, index), run(model, tmp_path / "g.onnx"), strict=True):
        assert found.dtype == given.dtype
        assert found.tobytes() == given.tobytes()
    weights.close()


def test_equal_bytes_are_stored_once(tmp_path: Path, rng: np.random.Generator):
    one, two = (rng.standard_normal(5000).astype(np.float32) for _ in range(2))
    weights = WeightFile(tmp_path)
    first, second = graph(a=one, b=two), graph(x=two, y=one)
    weights.take(first)
    size = weights.size
    found = weights.take(second)
    assert weights.size == size
    assert np.array_equal(run(found, tmp_path / "g.onnx")[0], two)
    weights.close()


def test_bytes_of_other_numbers_are_not_taken_for_equal(tmp_path: Path):
    zeros, nothing = np.zeros(200, np.float32), np.zeros(100, np.int64)
    weights = WeightFile(tmp_path)
    found = run(weights.take(graph(zeros=zeros, nothing=nothing)), tmp_path / "g.onnx")
    assert [array.dtype for array in found] == [np.float32, np.int64]
    weights.close()


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(70, 40), (1, 70, 40), (70, 40, 1, 1), (70, 1, 40)])
def test_a_matrix_with_its_axes_exchanged_is_stored_once(
    tmp_path: Path, rng: np.random.Generator, kind: type, shape: tuple[int, ...]
):
    one = rng.standard_normal((40, 70)).astype(kind).astype(np.float32)
    weights = WeightFile(tmp_path)
    weights.take(graph(a=one))
    size = weights.size
    other = np.ascontiguousarray(one.T).reshape(shape)
    model = weights.take(graph(b=other, a=one))
    assert weights.size == size
    turned, straight = run(model, tmp_path / "g.onnx")
    assert np.array_equal(turned, other)
    assert np.array_equal(straight, one)
    weights.close()


def test_a_graph_can_be_run_before_the_file_is_closed(tmp_path: Path, rng: np.random.Generator):
    # Less than a buffer, so that nothing but a flush brings it to the disk.
    given = rng.standard_normal(300).astype(np.float32)
    weights = WeightFile(tmp_path)
    model = weights.take(graph(a=given))
    assert (tmp_path / WEIGHTS).stat().st_size == weights.size
    assert np.array_equal(run(model, tmp_path / "g.onnx")[0], given)
    weights.close()


def test_small_ones_stay_in_the_graph_and_places_are_aligned(
    tmp_path: Path, rng: np.random.Generator
):
    weights = WeightFile(tmp_path)
    model = weights.take(
        graph(
            few=np.arange(4, dtype=np.float32),
            odd=rng.standard_normal(101).astype(np.float32),
            more=rng.standard_normal(101).astype(np.float32),
        )
    )
    few, odd, more = model.graph.initializer
    assert few.data_location != TensorProto.EXTERNAL
    for tensor in (odd, more):
        told = {entry.key: entry.value for entry in tensor.external_data}
        assert told["location"] == WEIGHTS
        assert int(told["offset"]) % ALIGNMENT == 0
        assert not tensor.raw_data
    weights.close()
