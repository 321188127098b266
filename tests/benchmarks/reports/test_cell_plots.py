from collections.abc import Callable
from typing import Any

import pytest

from scumble_bench.latency.records import Bench, Measured
from scumble_bench.reports.cell_plots import by_ratio, memory, ratios, times
from scumble_bench.reports.style import LIGHT, Plot

Draw = Callable[[Plot], Any]


def made(plot: Plot | None) -> Plot:
    assert plot is not None
    return plot


def test_the_fastest_comes_first_and_failures_last(bench: Bench):
    cells = by_ratio(bench)
    assert len(cells) == len(bench.cells)
    with_ratio = [cell.ratio.median for cell in cells if cell.ratio]
    assert with_ratio == sorted(with_ratio, reverse=True)
    assert [cell.failure is None for cell in cells] == [True] * 8 + [False] * 2


def test_ratios_are_those_of_the_data_on_a_log_scale(bench: Bench, drawn: Draw):
    (axes,) = drawn(made(ratios(bench))).axes
    assert axes.get_xscale() == "log"
    lines = [tuple(map(float, line.get_xdata())) for line in axes.lines]
    assert (1.0, 1.0) in lines
    for cell in bench.cells:
        if cell.ratio:
            assert (cell.ratio.p10, cell.ratio.p90) in lines
            assert (cell.ratio.median,) in lines
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [cell.name for cell in by_ratio(bench)], "beside their own dots"
    rows = {float(line.get_xdata()[0]): int(line.get_ydata()[0]) for line in axes.lines
            if len(line.get_xdata()) == 1}  # fmt: skip
    assert [names[rows[cell.ratio.median]] for cell in bench.cells if cell.ratio] == [
        cell.name for cell in bench.cells if cell.ratio
    ]
    low, high = axes.get_xlim()
    ends = [end for cell in bench.cells if cell.ratio for end in (cell.ratio.p10, cell.ratio.p90)]
    assert low < min(ends) < max(ends) < high


def test_every_cell_is_named_and_a_failed_one_says_why(
    bench: Bench, texts: Callable[[Plot], list[str]]
):
    for plot in (ratios(bench), times(bench)):
        written = texts(made(plot))
        assert {cell.name for cell in bench.cells} <= set(written)
        assert "failed: MemoryError: out of memory" in written


def test_a_peer_that_disagrees_is_hollow_and_says_so(bench: Bench, drawn: Draw):
    (axes,) = drawn(made(ratios(bench))).axes
    written = [text.get_text() for text in axes.texts]
    assert "8.89×, disagrees" in written
    assert "2.67×, unchecked" in written
    assert "8.00×" in written
    marks = {
        float(line.get_xdata()[0]): line.get_markerfacecolor()
        for line in axes.lines
        if len(line.get_xdata()) == 1
    }
    assert marks[8 / 0.9] == LIGHT.ground
    assert marks[8.0] == LIGHT.colours[0]
    assert marks[8 / 5.5] == LIGHT.colours[1]


def test_times_stand_beside_the_machine(bench: Bench, texts: Callable[[Plot], list[str]]):
    plot = made(times(bench))
    assert any("Example CPU <9>" in text for text in texts(plot))
    assert "450 ms" in texts(plot)
    assert "Example CPU <9>" in plot.told


def test_memory_begins_at_zero_and_is_that_of_the_data(bench: Bench, drawn: Draw):
    (axes,) = drawn(made(memory(bench))).axes
    assert axes.get_xlim()[0] == 0
    widths = sorted(patch.get_width() for patch in axes.patches)
    assert widths == pytest.approx([700, 720, 900])


def test_nothing_is_drawn_of_nothing(bench: Bench, a_cell: Callable[..., Measured]):
    failed = bench.model_copy(update={"cells": (a_cell("x", None, failure="why"),)})
    assert (ratios(failed), times(failed), memory(failed)) == (None, None, None)


def test_many_cells_make_a_taller_plot(bench: Bench):
    twice = bench.model_copy(update={"cells": bench.cells * 3})
    assert made(ratios(twice)).size[1] > made(ratios(bench)).size[1] + 5
