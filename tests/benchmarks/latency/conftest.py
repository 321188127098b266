"""Settings that measure the small checkpoint in a moment."""

from pathlib import Path

import pytest

from scumble_bench.latency.parts import Settings


@pytest.fixture
def quick(small: Path) -> Settings:
    """Two steps, one round, one engine; the small checkpoint stands for both models."""
    return Settings(
        shape=small, model=str(small), engines=("torch",), steps=2, rounds=1, warmup=0, pixels=None,
        gpu_pixels=None, edits=1, device="cpu",
    )  # fmt: skip
