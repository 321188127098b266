from collections.abc import Callable
from typing import Any

import pytest

from scumble_bench.reports.pareto_plot import pareto_plot, short, tasks
from scumble_bench.reports.points import QualityPoint
from scumble_bench.reports.style import Plot

Make = Callable[..., QualityPoint]


@pytest.fixture
def points(a_point: Make) -> list[QualityPoint]:
    return [
        a_point("Prompt-to-Prompt, swap", 0.6, 22.0, ceiling=32.0),
        a_point("dominated", 0.4, 20.0, rows=150),
        a_point("SDEdit", 0.3, 17.0, method="sdedit", inversion=None, rows=20),
        a_point("told", 0.8, 31.0, masked=True),
        a_point("MAG", 0.7, 31.5, masked=True, gradients=150, method="mag_edit"),
        a_point("only pose", 0.1, 25.0, task="pose"),
        a_point("no outside", 0.9, None, task="layout"),
    ]


def test_tasks_are_apart_and_those_without_a_place_left_out(points: list[QualityPoint]):
    assert {task: len(of) for task, of in tasks(points).items()} == {"colour": 5, "pose": 1}


def test_every_point_is_where_it_was_measured(
    points: list[QualityPoint], drawn: Callable[[Plot], Any]
):
    plot = pareto_plot(points)
    assert plot is not None
    colour, pose = drawn(plot).axes
    found = [tuple(map(float, of.get_offsets()[0])) for of in colour.collections if of.get_paths()
             and len(of.get_offsets())]  # fmt: skip
    for point in points[:5]:
        assert any(x == point.psnr and y == pytest.approx(100 * point.success) for x, y in found)
    sizes = {
        float(of.get_offsets()[0][0]): float(of.get_sizes()[0])
        for of in colour.collections
        if len(of.get_offsets())
    }
    assert sizes[20.0] / sizes[17.0] == pytest.approx(150 / 20), "the area says the rows"
    faint = {
        float(of.get_offsets()[0][0]): of.get_alpha()
        for of in colour.collections
        if len(of.get_offsets())
    }
    assert faint[20.0] < faint[22.0] == 1.0
    names = [text.get_text() for text in (*colour.texts, *pose.texts)]
    assert {"P2P, swap", "dominated", "SDEdit", "told", "MAG", "only pose"} <= set(names)


def test_two_fronts_one_without_the_mask(points: list[QualityPoint], drawn: Callable[[Plot], Any]):
    plot = pareto_plot(points)
    assert plot is not None
    colour = drawn(plot).axes[0]
    borders = {
        line.get_linestyle(): [float(x) for x in line.get_xdata()]
        for line in colour.lines
        if len(line.get_xdata()) > 2 or line.get_linestyle() == "-"
        if len(line.get_xdata()) and line.get_zorder() == 1
    }
    assert borders["-"] == [22.0, 22.0]
    assert borders["--"] == [31.5, 31.5, 31.0, 31.0]


def test_other_pictures_are_no_comparison(points: list[QualityPoint], a_point: Make):
    with pytest.raises(ValueError, match="'colour' are of different pictures"):
        pareto_plot([*points, a_point("other", 0.5, 20.0, pictures=50)])


def test_nothing_with_a_place_is_no_plot(a_point: Make):
    assert pareto_plot([a_point("x", 0.5, None)]) is None


def test_labels_are_short():
    assert short("Prompt-to-Prompt + proximal") == "P2P + proximal"
    assert len(short("x" * 99)) == 42
