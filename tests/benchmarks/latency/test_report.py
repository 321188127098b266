import json
from pathlib import Path

import pytest

from scumble_bench.latency.report import read_report, write_report


def test_parts_that_were_never_run_say_so(tmp_path: Path):
    report = read_report(tmp_path / "none.json", ("demo", "gpu"))
    assert list(report) == ["demo", "gpu"]
    whys = {v["target"]: (v["verdict"], v["why"]) for v in report["gpu"]["targets"]}
    assert whys["gpu.row"] == ("not measured", "this part was never run")


def test_what_was_measured_before_is_kept(tmp_path: Path):
    path = tmp_path / "deep" / "out.json"
    write_report(path, {"demo": {"targets": ["old"]}})
    report = read_report(path, ("demo", "gpu"))
    assert report["demo"] == {"targets": ["old"]}
    assert report["gpu"]["targets"]
    assert json.loads(path.read_text())["demo"] == {"targets": ["old"]}


def test_a_report_is_written_whole_or_not_at_all(tmp_path: Path):
    path = tmp_path / "out.json"
    write_report(path, {"a": 1})
    with pytest.raises(TypeError):
        write_report(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
