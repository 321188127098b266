import csv
import io
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from scumble.errors import EngineError
from scumble_bench.reports.measured_points import points_from_results
from scumble_bench.reports.pareto import ParetoReport, pareto, points_csv, write_pareto
from scumble_bench.reports.points import QualityPoint

Make = Callable[..., QualityPoint]


@pytest.fixture(scope="module")
def points(a_point: Make) -> list[QualityPoint]:
    return [
        a_point("best", 0.6, 22.0, psnr_interval=(20.0, 24.0)),
        a_point("worse <b>", 0.4, 20.0, also=("same", "again")),
        a_point("nowhere", 0.5, None, task="layout", inversion=None),
    ]


@pytest.fixture(scope="module")
def report(points: list[QualityPoint]) -> ParetoReport:
    return pareto(points)


def test_the_table_has_every_point_in_full(points: list[QualityPoint], report: ParetoReport):
    lines = list(csv.DictReader(io.StringIO(report.csv.decode())))
    assert [line["label"] for line in lines] == ["best", "worse <b>", "nowhere"]
    assert [line["front"] for line in lines] == ["true", "false", ""]
    for line, point in zip(lines, points, strict=True):
        assert float(line["success"]) == point.success
        assert (float(line["success_low"]), float(line["success_high"])) == point.success_interval
        assert line["psnr"] == ("" if point.psnr is None else repr(point.psnr))
        assert float(line["rows"]) == point.rows
    assert lines[0]["psnr_high"] == "24.0"
    assert lines[1]["also"] == "same; again"


def test_the_fragment_is_escaped_and_tells_who_is_in_front(report: ParetoReport):
    html = report.html
    assert "worse &lt;b&gt;" in html
    assert "<b>" not in html
    assert "Only rows of one task are comparable" in html
    cells: list[str] = []

    class Cells(HTMLParser):
        def handle_data(self, data: str) -> None:
            cells.append(data)

    Cells().feed(html)
    assert [text for text in cells if text in ("front", "dominated")] == ["front", "dominated"]
    assert "22.00 dB" in cells
    assert "60% (50% to 70%)" in cells


def test_files_are_written_and_the_same_again(
    points: list[QualityPoint], report: ParetoReport, tmp_path: Path
):
    paths = write_pareto(points, tmp_path)
    assert {path.name for path in paths} == {"pareto.png", "pareto.csv"}
    first = {path.name: path.read_bytes() for path in paths}
    with Image.open(tmp_path / "pareto.png") as picture:
        assert min(picture.size) > 800
    assert first == {"pareto.png": report.png, "pareto.csv": report.csv}


def test_without_an_outside_there_is_no_picture(points: list[QualityPoint], tmp_path: Path):
    (tmp_path / "pareto.png").write_text("of an earlier report")
    assert [path.name for path in write_pareto(points[2:], tmp_path)] == ["pareto.csv"]
    assert not (tmp_path / "pareto.png").exists()


def test_without_matplotlib_the_extra_is_named(
    points: list[QualityPoint], monkeypatch: pytest.MonkeyPatch
):
    for name in [name for name in sys.modules if name.startswith("scumble_bench.reports.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    with pytest.raises(EngineError, match=r"pip install 'scumble\[eval\]'"):
        pareto(points)


def test_the_committed_table_is_that_of_the_committed_figures(repository: Path):
    """Where it is not, `python -m scumble_bench.reports` draws both anew."""
    results = repository / "benchmarks" / "results"
    assert (results / "pareto.csv").read_bytes() == points_csv(points_from_results(results))
