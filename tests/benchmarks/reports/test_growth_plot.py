from collections.abc import Callable
from typing import Any

import pytest

from scumble_bench.latency.records import Bench, Fit
from scumble_bench.reports.growth_plot import fitted, growth
from scumble_bench.reports.style import Plot


def test_a_law_is_told_with_its_units_or_why_there_is_none(bench: Bench):
    assert fitted(bench.growth[0]) == "2.00 ms + 3.50 ms per row, R² 0.998"
    falling = bench.growth[0].model_copy(update={"fit": Fit(constant=1, slope=-0.5, r_squared=1)})
    assert fitted(falling) == "1.00 s − 500 ms per row, R² 1.00"
    below = bench.growth[0].model_copy(update={"fit": Fit(constant=-0.5, slope=1, r_squared=1)})
    assert fitted(below) == "−500 ms + 1.00 s per row, R² 1.00"
    assert fitted(bench.growth[-1]) == "the third edit ran out of memory"
    silent = bench.growth[-1].model_copy(update={"failure": None})
    assert fitted(silent) == "too few points for a line"


def test_points_and_lines_are_those_of_the_data(bench: Bench, drawn: Callable[[Plot], Any]):
    plot = growth(bench)
    assert plot is not None
    panels = [axes for axes in drawn(plot).axes if axes.lines]
    assert len(panels) == 4, "two engines share the panel of rows"
    rows = panels[0]
    assert rows.get_xlim()[0] == rows.get_ylim()[0] == 0
    data = [[list(map(float, of)) for of in line.get_data()] for line in rows.lines]
    for one in bench.growth[:2]:
        assert [[p.x for p in one.points], [p.seconds.median for p in one.points]] in data
        assert one.fit is not None
        (law,) = [line for line in rows.lines if line.get_label() == f"{one.engine}: {fitted(one)}"]
        (x0, x1), (y0, y1) = law.get_data()
        assert y0 == pytest.approx(one.fit.constant + one.fit.slope * x0)
        assert y1 == pytest.approx(one.fit.constant + one.fit.slope * x1)
        assert x1 > one.points[-1].x


def test_without_points_there_is_no_plot(bench: Bench):
    none = bench.growth[0].model_copy(update={"points": ()})
    assert growth(bench.model_copy(update={"growth": (none,)})) is None
