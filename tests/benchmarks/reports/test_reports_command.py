import runpy
import sys
from pathlib import Path

import pytest


@pytest.mark.thorough
def test_the_committed_results_are_drawn_anew(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "argv", ["reports", str(tmp_path)])
    runpy.run_module("scumble_bench.reports", run_name="__main__")
    committed = repository / "benchmarks" / "results" / "pareto.csv"
    assert (tmp_path / "pareto.csv").read_bytes() == committed.read_bytes()
    assert (tmp_path / "pareto.png").stat().st_size > 50_000
