from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scumble_bench.latency import precision
from scumble_bench.latency.parts import Settings
from scumble_bench.latency.precision import measure, psnr


def grey(level: int) -> Image.Image:
    return Image.fromarray(np.full((4, 4, 3), level, np.uint8))


def test_psnr_is_that_of_eight_bits():
    assert psnr(grey(0), grey(255)) == 0
    assert psnr(grey(100), grey(101)) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(grey(7), grey(7)) == 99


@pytest.fixture(autouse=True)
def _engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "ENGINES", ("torch", "nonesuch"))


@pytest.mark.thorough
def test_time_and_pictures_are_compared(quick: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "cpu_features", lambda: ["amx_bf16"])
    part = measure(replace(quick, edits=2))
    faster, same, *_ = part.findings
    done = part.comparisons["torch, routed"]
    assert (faster.target, faster.value, faster.why) == (
        "precision.bf16", done.ratio("fp32", "bf16"), "",
    )  # fmt: skip
    shown = part.facts["torch, PSNR in dB"]
    assert list(shown) == ["table, swap", "table, refine"]
    assert same.target == "precision.psnr"
    assert same.value == pytest.approx(min(shown.values()), abs=0.01)
    assert 5 < min(shown.values()) < 99, "bf16 is neither nonsense nor fp32"


@pytest.mark.thorough
def test_without_amx_the_ratio_decides_nothing(quick: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "cpu_features", lambda: ["avx512_bf16"])
    faster = measure(quick).findings[0]
    assert faster.value is not None
    assert "AMX" in faster.why


@pytest.mark.thorough
def test_an_engine_that_is_not_there_is_named(quick: Settings):
    missing = [f for f in measure(quick).findings if f.engine == "nonesuch"]
    assert [(f.target, f.why) for f in missing] == [
        ("precision.bf16", "engine 'nonesuch' is not installed"),
        ("precision.psnr", "engine 'nonesuch' is not installed"),
    ]


@pytest.mark.thorough
def test_one_figure_that_fails_leaves_the_other(quick: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "ENGINES", ("torch",))
    monkeypatch.setattr(precision, "neutral_step", lambda *_: [][0])
    faster, same = measure(quick).findings
    assert faster.why == "IndexError: list index out of range"
    assert same.value is not None
