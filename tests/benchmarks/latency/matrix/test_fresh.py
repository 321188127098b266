import os
import sys
from pathlib import Path

import numpy as np
import pytest

from scumble_bench.latency.matrix import fresh
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.fresh import FreshError, peak_memory, run_fresh


def spec(model: Path) -> CellSpec:
    return CellSpec("prompt_to_prompt", "torch", "fp32", str(model), (32, 32), 2, "first")


@pytest.mark.thorough
def test_both_edits_are_made_in_one_process_whose_peak_is_its_own(
    small: Path, monkeypatch: pytest.MonkeyPatch
):
    # Larger than torch and the model together: what the child is started from must not count.
    held = np.ones(1 << 28, dtype=np.float64)
    here = peak_memory().rss
    told = run_fresh(spec(small), threads=1)
    assert held.nbytes < here
    assert told.first is not None
    assert told.next is not None
    assert 50e6 < told.first.rss <= told.next.rss < held.nbytes
    assert told.first.device is None
    assert told.load > 0


@pytest.mark.thorough
def test_a_process_that_fails_leaves_its_last_words(tmp_path: Path):
    with pytest.raises(FreshError, match="ModelError"):
        run_fresh(spec(tmp_path / "nothing"), edits=False)


def test_the_systems_own_record_is_read_where_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    status = tmp_path / "status"
    status.write_text("VmPeak:\t 9 kB\nVmHWM:\t 7 kB\n")
    assert peak_memory(status).rss == 7 * 1024
    used = type("Usage", (), {"ru_maxrss": 5})
    monkeypatch.setattr(fresh.resource, "getrusage", lambda who: used)
    monkeypatch.setattr(sys, "platform", "linux")
    assert peak_memory(tmp_path / "none").rss == 5 * 1024
    monkeypatch.setattr(sys, "platform", "darwin")
    assert peak_memory(tmp_path / "none").rss == 5


def test_what_is_asked_reaches_the_child(small: Path, monkeypatch: pytest.MonkeyPatch):
    seen: dict[str, object] = {}

    def run(command: list[str], **given: object) -> object:
        seen.update(given)
        return type("Done", (), {
            "returncode": 0, "stdout": 'noise\n{"load": 2.0, "first": {"rss": 3}, "next": null}\n'
        })  # fmt: skip

    monkeypatch.setattr(fresh.subprocess, "run", run)
    told = run_fresh(spec(small), peer="x", environment={"SCUMBLE_CACHE_DIR": "here"})
    assert (told.load, told.next) == (2.0, None)
    assert told.first is not None
    assert told.first.rss == 3
    environment = seen["env"]
    assert isinstance(environment, dict)
    assert environment["SCUMBLE_CACHE_DIR"] == "here"
    assert environment["PATH"] == os.environ["PATH"]
    assert '"peer": "x"' in str(seen["input"])
