from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from scumble_bench.latency.records import Bench
from scumble_bench.reports.cell_plots import by_ratio
from scumble_bench.reports.stage_plot import stage_colours, stage_order, stages
from scumble_bench.reports.style import LIGHT, Plot


def test_stages_are_in_the_order_of_an_edit():
    names = ["host", "something", "decode", "sampling: routed", "text", "sampling: plain", "text"]
    assert stage_order(names) == [
        "text", "sampling: plain", "sampling: routed", "decode", "host", "something",
    ]  # fmt: skip


def test_every_stage_has_a_colour_of_its_own():
    names = stage_order(["text", "encode", "sampling: a", "sampling: b", "sampling: c", "odd"])
    colours = stage_colours(names, LIGHT)
    assert len(set(colours.values())) == len(names)


def test_bars_begin_at_zero_and_add_up(bench: Bench, drawn: Callable[[Plot], Any]):
    plot = stages(bench)
    assert plot is not None
    seconds, shares = drawn(plot).axes[:2]
    cells = [cell for cell in by_ratio(bench) if cell.stages]
    names = stage_order(one.stage for cell in cells for one in cell.stages)
    for row, cell in enumerate(cells):
        took = {one.stage: one.seconds.median for one in cell.stages}
        mine = seconds.patches[row * len(names) : (row + 1) * len(names)]
        assert [bar.get_width() for bar in mine] == pytest.approx(
            [took.get(name, 0) for name in names]
        )
        assert mine[0].get_x() == 0
        for one, two in pairwise(mine):
            assert two.get_x() == pytest.approx(one.get_x() + one.get_width())
        other = shares.patches[row * len(names) : (row + 1) * len(names)]
        assert sum(bar.get_width() for bar in other) == pytest.approx(100)
        whole = cell.spread
        assert whole is not None
        assert list(seconds.lines[row].get_xdata()) == [whole.median] * 2


def test_without_stages_there_is_no_plot(bench: Bench):
    bare = tuple(cell.model_copy(update={"stages": ()}) for cell in bench.cells)
    assert stages(bench.model_copy(update={"cells": bare})) is None
