from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from scumble import Editor
from scumble.models import find_checkpoint
from scumble_bench.latency.limits.onnx_flops import count_file
from scumble_bench.latency.limits.variant_costs import (
    Subject,
    against,
    measure_variants,
    peak_of,
)
from scumble_bench.latency.records import Ceiling, Range, VariantCost


def ceiling(flops: float = 100, bandwidth: float = 10, **more: Any) -> Ceiling:
    given = {"device": "d", "engine": "torch", "precision": "fp32", "shape": (1, 1, 1), **more}
    return Ceiling(flops_per_second=flops, bytes_per_second=bandwidth, **given)


def cost(**more: Any) -> VariantCost:
    given: dict[str, Any] = {
        "engine": "e", "precision": "fp32", "model": "m", "variant": "plain", "rows": 1,
        "size": (8, 8), "flops": 400.0, "bytes": 30.0,
        "seconds": Range(median=8.0, p10=1.0, p90=9.0), **more,
    }  # fmt: skip
    return VariantCost(**given)


def test_a_variant_is_set_against_the_ceiling():
    found = against(cost(), ceiling())
    # 400 FLOPs take 4 s at best and took 8; 30 bytes in 8 s.
    assert (found.fraction_of_peak, found.bandwidth) == (0.5, 30 / 8)
    assert found.bound == "compute"
    # 30 bytes at 5 a second take 6 s, longer than the products.
    assert against(cost(), ceiling(bandwidth=5)).bound == "memory"


def test_without_a_ceiling_or_a_time_nothing_is_said():
    assert against(cost(), None).fraction_of_peak is None
    failed = cost(flops=None, seconds=None, failure="why")
    assert against(failed, ceiling()) == failed


def test_the_highest_ceiling_of_the_precision_counts():
    low, high = ceiling(1), ceiling(2, engine="onnxruntime")
    half = ceiling(9, precision="bf16")
    assert peak_of((low, high, half), "fp32") == high
    assert peak_of((low,), "bf16") is None


def test_a_model_without_graphs_says_what_is_missing(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        subject = Subject(editor, "tiny", "torch", "fp32", find_checkpoint(small))
        (only,) = measure_variants(subject, (), 1, 1)
    assert only.failure is not None
    assert "pack" in only.failure


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_every_variant_gets_its_figures(small: Path, pack: Path, tmp_path: Path, engine: str):
    model = copytree(small, tmp_path / "model")
    copytree(pack, model / "pack")
    found = find_checkpoint(model)
    with Editor.load(model, engine=engine, device="cpu", threads=1) as editor:
        subject = Subject(editor, "tiny", engine, "fp32", found)
        costs = {each.variant: each for each in measure_variants(subject, (ceiling(1e12),), 2, 1)}
    assert found.pack is not None
    assert found.pack.manifest is not None
    variants = found.pack.manifest.variants
    truncated = {name for name, variant in variants.items() if variant.truncated}
    # torch has no graph that ends where the last map is known.
    assert set(costs) == set(variants) - (truncated if engine == "torch" else set())
    for name, each in costs.items():
        assert each.failure is None, each
        assert each.rows == (1 if name == "guiding" else 2)
        assert each.flops == count_file(pack / variants[name].file, each.rows).flops
        assert each.fraction_of_peak is not None
        assert each.bound is not None
