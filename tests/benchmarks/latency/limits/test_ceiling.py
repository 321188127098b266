from itertools import accumulate

import numpy as np
import pytest
import torch

from scumble_bench.latency.limits.ceiling import (
    best_of,
    copy_speed,
    measure_ceilings,
    one_product,
    torch_product,
)


def test_the_shortest_run_counts_and_the_first_one_does_not():
    runs: list[int] = []
    # Each timed run reads the clock twice: 5, 2 and 7 seconds.
    clock = accumulate([0, 5, 0, 2, 0, 7])
    assert best_of(lambda: runs.append(1), 3, lambda: float(next(clock))) == 2
    assert len(runs) == 4


def test_both_products_are_products():
    out = torch_product((5, 7, 3), torch.float32, "cpu")()
    assert isinstance(out, torch.Tensor)
    assert out.shape == (5, 3)
    found = one_product((5, 7, 3), 1)()
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((7, 3)).astype(np.float32)
    left = rng.standard_normal((5, 7)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(found)[0], left @ weight, rtol=1e-5, atol=1e-5)


def test_a_ceiling_says_what_reached_it():
    shapes = ((64, 64, 64), (8, 8, 8))
    found = measure_ceilings(("fp32", "bf16", "fp8"), 1, "cpu", shapes, 2, 1 << 16)
    named = [(ceiling.engine, ceiling.precision) for ceiling in found]
    assert named == [("torch", "fp32"), ("torch", "bf16"), ("onnxruntime", "fp32")]
    for ceiling in found:
        assert ceiling.shape in shapes
        assert ceiling.flops_per_second > 0
        assert ceiling.bytes_per_second == found[0].bytes_per_second
        assert ceiling.device


def test_a_copy_is_read_and_written(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scumble_bench.latency.limits.ceiling.best_of", lambda run, rounds: 0.5)
    assert copy_speed(4000, "cpu", 1) == 2 * 4000 / 0.5
