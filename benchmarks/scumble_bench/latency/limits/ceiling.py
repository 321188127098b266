"""What the device can do at best: the fastest of some matrix products, and a copy.

A fraction of peak is against this, and not against a data sheet: it is measured in the same
process, with the same threads, moments before.
"""

# torch, onnx and onnxruntime leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
import torch
from onnx import TensorProto, helper

from scumble_bench.latency.provenance import cpu_model
from scumble_bench.latency.records import Ceiling

__all__ = ["SHAPES", "best_of", "copy_speed", "measure_ceilings", "one_product", "torch_product"]

SHAPES: tuple[tuple[int, int, int], ...] = (
    (1024, 1024, 1024), (2048, 2048, 2048),
    # Tall ones, as of the projections of SD1.5 at 64x64 and at 16x16.
    (8192, 320, 320), (2048, 1280, 1280),
)  # fmt: skip
"""(m, k, n) of the products that are tried."""

COPIED = 1 << 28
"""Bytes that are copied: more than a processor caches."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_of(
    run: Callable[[], object], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the shortest of some runs in seconds, after one that is not timed."""
    run()
    spent: list[float] = []
    for _ in range(rounds):
        begun = clock()
        run()
        spent.append(clock() - begun)
    return min(spent)


def measure_ceilings(
    precisions: Sequence[str],
    threads: int | None = None,
    device: str = "cpu",
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    rounds: int = 5,
    copied: int = COPIED,
) -> tuple[Ceiling, ...]:
    """Return the ceilings of torch in each precision, and of ONNX Runtime in fp32 on a CPU.

    Args:
        precisions: of the products; those that torch has no type for are left out.
        threads: of both runtimes; None leaves their own choice.
        device: of torch.
        shapes: (m, k, n) that are tried.
        rounds: timed runs of each.
        copied: bytes of the copy.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_model()
    bandwidth = copy_speed(copied, device, rounds)
    makers: list[tuple[str, str, Callable[[tuple[int, int, int]], Callable[[], object]]]] = [
        ("torch", precision, lambda s, p=precision: torch_product(s, DTYPES[p], device))
        for precision in dict.fromkeys(precisions)
        if precision in DTYPES
    ]
    if "fp32" in precisions and not device.startswith("cuda"):
        makers.append(("onnxruntime", "fp32", lambda s: one_product(s, threads)))
    found: list[Ceiling] = []
    for engine, precision, make in makers:
        speeds = {s: 2 * s[0] * s[1] * s[2] / best_of(make(s), rounds) for s in shapes}
        best = max(speeds, key=lambda shape: speeds[shape])
        found.append(
            Ceiling(
                device=name,
                engine=engine,
                precision=precision,
                flops_per_second=speeds[best],
                shape=best,
                bytes_per_second=bandwidth,
            )
        )
    return tuple(found)


def torch_product(
    shape: tuple[int, int, int], dtype: torch.dtype, device: str
) -> Callable[[], object]:
    """Return a function that multiplies (m, k) by (k, n) and waits for the result."""
    rows, inner, columns = shape
    left = torch.randn(rows, inner, device=device).to(dtype)
    right = torch.randn(inner, columns, device=device).to(dtype)
    out = torch.empty(rows, columns, device=device, dtype=dtype)

    def run() -> object:
        torch.mm(left, right, out=out)
        _wait(device)
        return out

    return run


def one_product(shape: tuple[int, int, int], threads: int | None) -> Callable[[], object]:
    """Return a function that runs a graph of one MatMul, its second operand a weight."""
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((inner, columns)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["left", "weight"], ["out"])],
        "product",
        [helper.make_tensor_value_info("left", TensorProto.FLOAT, [rows, inner])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [rows, columns])],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.tobytes(), raw=True)],
    )
    opsets = [helper.make_opsetid("", 21)]
    model: Any = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    left = rng.standard_normal((rows, inner)).astype(np.float32)

    def run() -> object:
        return session.run(None, {"left": left})

    return run


def copy_speed(copied: int, device: str, rounds: int) -> float:
    """Return the bytes a second of a copy, what is read and what is written together."""
    source = torch.ones(copied // 4, device=device)
    target = torch.empty_like(source)

    def run() -> object:
        target.copy_(source)
        _wait(device)
        return target

    return 2 * source.nbytes / best_of(run, rounds)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
