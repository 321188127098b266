from pathlib import Path
from typing import Any

import pytest

from scumble_bench.latency.matrix import loading
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.fresh import FreshError, FreshRun
from scumble_bench.latency.matrix.loading import export_seconds, measure_loading

SPEC = CellSpec("prompt_to_prompt", "onnxruntime", "fp32", "m", (32, 32), 2, "first")


class Fresh:
    """New processes that load in 2 s, and in 5 s where they build into an empty cache."""

    def __init__(self, builds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        self.builds = builds
        monkeypatch.setattr(loading, "run_fresh", self)
        monkeypatch.setattr(loading, "export_seconds", lambda model: 60.0)

    def __call__(self, spec: CellSpec, **more: Any) -> FreshRun:
        assert more["edits"] is False
        if "environment" not in more:
            return FreshRun(2.0)
        cache = Path(more["environment"]["SCUMBLE_CACHE_DIR"])
        assert not any(cache.iterdir())
        if self.builds:
            (cache / "plan").write_text("built")
        return FreshRun(5.0)


@pytest.mark.parametrize("builds", [True, False])
def test_only_an_engine_that_fills_the_cache_was_built(
    builds: bool, monkeypatch: pytest.MonkeyPatch
):
    Fresh(builds, monkeypatch)
    made = measure_loading(SPEC, build=True)
    assert (made.load, made.export, made.build) == (2.0, None, 5.0 if builds else None)
    assert (made.engine, made.model, made.precision) == ("onnxruntime", "m", "fp32")


def test_a_pack_is_exported_for_engines_that_run_packs(monkeypatch: pytest.MonkeyPatch):
    Fresh(False, monkeypatch)
    assert measure_loading(SPEC, export=True).export == 60
    torch = CellSpec("prompt_to_prompt", "torch", "fp32", "m", (32, 32), 2, "first")
    assert measure_loading(torch, export=True).export is None


def test_a_failure_is_told(monkeypatch: pytest.MonkeyPatch):
    def run_fresh(spec: CellSpec, **more: Any) -> FreshRun:
        raise FreshError("killed")

    monkeypatch.setattr(loading, "run_fresh", run_fresh)
    made = measure_loading(SPEC)
    assert made.load is None
    assert made.failure == "FreshError: killed"


def test_a_pack_is_not_exported(pack: Path):
    assert export_seconds(str(pack)) is None


def test_a_checkpoint_is(small: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr("scumble_export.pack.export_pack", lambda found, out: asked.append(out))
    seconds = export_seconds(str(small))
    assert seconds is not None
    assert seconds >= 0
    assert len(asked) == 1
    assert not asked[0].exists()
