from collections.abc import Callable
from typing import Any

import pytest

from scumble_bench.latency.records import Bench, Ceiling
from scumble_bench.reports.limit_plot import limits, roof, told_apart
from scumble_bench.reports.style import Plot


def test_a_roof_is_bandwidth_first_and_then_the_peak():
    ceiling = Ceiling(
        device="d", engine="e", precision="fp32", flops_per_second=100.0, shape=(1, 1, 1),
        bytes_per_second=10.0,
    )  # fmt: skip
    assert [roof(ceiling, x) for x in (1, 5, 10, 50)] == [10, 50, 100, 100]


def test_names_tell_what_differs_and_the_title_what_does_not(bench: Bench):
    names, common = told_apart(bench.variants[:6])
    assert names[:2] == ["plain, onnxruntime fp32", "routed, onnxruntime fp32"]
    assert len(set(names)) == 6
    assert common == "3 rows, 128×128, rooms"
    assert told_apart(bench.variants[:1])[0] == ["plain"]


def test_bars_are_fractions_from_zero_and_marks_what_was_measured(
    bench: Bench, drawn: Callable[[Plot], Any]
):
    plot = limits(bench)
    assert plot is not None
    bars, roofs = drawn(plot).axes
    timed = [one for one in bench.variants if one.fraction_of_peak is not None]
    assert [bar.get_width() for bar in bars.patches] == pytest.approx(
        [100 * (one.fraction_of_peak or 0) for one in timed]
    )
    assert bars.get_xlim()[0] == 0
    assert (roofs.get_xscale(), roofs.get_yscale()) == ("log", "log")
    placed = [
        (float(x[0]), float(y[0]))
        for line in roofs.lines
        for x, y in [line.get_data()]
        if len(x) == 1
    ]
    for one, (x, y) in zip(timed, placed, strict=True):
        assert one.flops
        assert one.bytes
        assert one.seconds
        assert x == pytest.approx(one.flops / one.bytes)
        assert y == pytest.approx(one.flops / one.seconds.median / 1e9)
    knees = [line.get_data() for line in roofs.lines if len(line.get_xdata()) == 3]
    for ceiling, (x, y) in zip(bench.ceilings, knees, strict=True):
        assert x[1] == ceiling.flops_per_second / ceiling.bytes_per_second
        assert y[1] == y[2] == pytest.approx(ceiling.flops_per_second / 1e9)


def test_without_variants_there_is_no_plot(bench: Bench):
    assert limits(bench.model_copy(update={"variants": bench.variants[-1:]})) is None


def test_without_a_ceiling_the_bars_remain(bench: Bench, drawn: Callable[[Plot], Any]):
    plot = limits(bench.model_copy(update={"ceilings": ()}))
    assert plot is not None
    assert len(drawn(plot).axes[0].patches) == 6
