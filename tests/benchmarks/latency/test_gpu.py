"""The part's arithmetic, on a CPU; on a GPU it has not been run."""

from dataclasses import replace

import pytest
import torch

from scumble_bench.latency.gpu import ROW, measure
from scumble_bench.latency.interleaving import Spread
from scumble_bench.latency.parts import Settings


@pytest.mark.thorough
def test_a_row_and_a_next_edit_are_measured(quick: Settings):
    part = measure(quick)
    done = part.comparisons["torch"]
    assert not done.failure(*done.timings)
    row, after = part.findings
    (seconds,) = done.timings[ROW].seconds
    assert isinstance(row.value, Spread)
    assert row.value.median == pytest.approx(1000 * seconds / 3)
    counts = part.facts["torch"]["steps"]
    assert sum(counts.values()) == 2
    assert all(name.startswith("next edit: 2 rows") for name in counts)
    assert after.value == Spread.of(done.composed(counts))


def test_without_a_device_it_says_so(quick: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    found = measure(replace(quick, device="cuda")).findings
    assert [(f.target, f.why) for f in found] == [
        ("gpu.row", "this machine has no CUDA device"),
        ("gpu.next", "this machine has no CUDA device"),
    ]


def test_an_engine_that_fails_is_named(quick: Settings):
    found = measure(replace(quick, engines=("onnxruntime",))).findings
    assert all("--shape-pack" in finding.why for finding in found)
