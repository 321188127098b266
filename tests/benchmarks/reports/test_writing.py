import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from scumble.errors import EngineError
from scumble_bench.latency.records import Bench
from scumble_bench.reports import write
from scumble_bench.reports.writing import FILES, PLOTS


@pytest.mark.thorough
def test_a_report_is_whole_and_the_same_again(bench: Bench, tmp_path: Path):
    paths = write(bench, tmp_path / "new")
    assert {path.name for path in paths} == set(FILES)
    assert Bench.read(tmp_path / "new" / "bench.json") == bench
    for name in PLOTS:
        with Image.open(tmp_path / "new" / f"{name}.png") as picture:
            assert min(picture.size) > 300
    page = (tmp_path / "new" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * len(PLOTS)
    again = write(bench, tmp_path / "again")
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in paths]


def test_plots_of_what_was_not_measured_are_removed(bench: Bench, tmp_path: Path):
    for name in ("memory.png", "growth.csv", "mine.txt"):
        (tmp_path / name).write_text("of an earlier report")
    little = Bench(provenance={}, settings={}, baseline="x", cells=bench.cells[-1:])
    assert [path.name for path in write(little, tmp_path)] == [
        "bench.json", "cells.csv", "report.html",
    ]  # fmt: skip
    assert (tmp_path / "mine.txt").exists()
    assert not (tmp_path / "memory.png").exists()
    assert not (tmp_path / "growth.csv").exists()


def test_what_breaks_on_the_way_leaves_nothing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr("scumble_bench.reports.writing.bench_page", broken)
    little = Bench(provenance={}, settings={}, baseline="x", cells=bench.cells[-1:])
    with pytest.raises(RuntimeError, match="no page"):
        write(little, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_without_matplotlib_the_extra_is_named(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.startswith("scumble_bench.reports.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(EngineError, match=r"pip install 'scumble\[bench\]'"):
        write(bench, tmp_path)


def test_reports_are_imported_without_what_draws_them():
    """In a process of its own: here another test may have loaded it already."""
    modules = ("", ".comparison_table", ".pareto", ".points")
    program = "\n".join(f"import scumble_bench.reports{name}" for name in modules)
    asked = "import sys; print(*{'matplotlib', 'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{asked}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
