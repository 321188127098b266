from dataclasses import replace
from pathlib import Path

import pytest

from scumble_bench.latency import gradients
from scumble_bench.latency.gradients import measure
from scumble_bench.latency.parts import Settings

pytestmark = pytest.mark.thorough


@pytest.fixture
def chosen(quick: Settings, small: Path, pack: Path) -> Settings:
    return replace(quick, model=str(small), pack=pack)


def test_the_same_gradient_is_timed_on_both(chosen: Settings):
    part = measure(chosen)
    done = part.comparisons["onnxruntime"]
    assert list(done.timings) == ["torch", "onnxruntime"]
    assert all(len(t.seconds) == 4 * chosen.rounds for t in done.timings.values())
    (finding,) = part.findings
    assert (finding.target, finding.value, finding.why) == (
        "gradient.graph", done.ratio("torch", "onnxruntime"), "",
    )  # fmt: skip
    assert 0 < part.facts["distance"] < 1e-4


def test_gradients_that_differ_are_not_timed(chosen: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gradients, "_distance", lambda *_: 1e-3)
    part = measure(chosen)
    assert not part.comparisons
    assert "the gradients differ by 1.0e-03" in part.findings[0].why
