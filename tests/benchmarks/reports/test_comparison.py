from collections.abc import Callable
from typing import Any

import pytest

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports import compare

Make = Callable[..., Measured]
ORIGIN = {
    "date": "2026-01-01", "commit": "a", "cpu": "A CPU", "threads": 2, "load_average": [1.0],
    "versions": {"torch": "2", "scumble": "0.1"}, "weights_sha256": {"rooms": "x"},
}  # fmt: skip


def report(*cells: Measured, **more: Any) -> Bench:
    given = {"provenance": ORIGIN, "settings": {"rounds": 3}, "baseline": "base", **more}
    return Bench(cells=cells, **given)


def ranged(p10: float, median: float, p90: float) -> Range:
    return Range(p10=p10, median=median, p90=p90)


@pytest.fixture
def base(a_cell: Make) -> Measured:
    return a_cell("base", 8.0)


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        ((4.6, 5.0, 5.5), "faster"),
        ((4.5, 5.0, 5.5), "within the spread"),  # they touch
        ((3.6, 4.2, 5.0), "within the spread"),
        ((2.0, 2.5, 3.5), "within the spread"),
        ((2.0, 2.5, 3.4), "slower"),
    ],
)
def test_a_verdict_needs_spreads_that_do_not_touch(
    base: Measured, a_cell: Make, second: tuple[float, float, float], verdict: str
):
    one = a_cell("x", 2.0, ratio=ranged(3.5, 4.0, 4.5))
    two = a_cell("x", 2.0, ratio=ranged(*second))
    (_, change) = compare(report(base, one), report(base, two)).changes
    assert change.verdict == verdict
    assert change.ratio == second[1] / 4.0
    assert change.why == ""


def test_fewer_seconds_are_faster(base: Measured, a_cell: Make):
    one = a_cell("x", 2.0, spread=ranged(1.9, 2.0, 2.1))
    two = a_cell("x", 1.0, spread=ranged(0.9, 1.0, 1.1))
    (_, change) = compare(report(base, one), report(base, two)).changes
    assert (change.seconds, change.seconds_verdict) == (2.0, "faster")
    (_, change) = compare(report(base, two), report(base, one)).changes
    assert (change.seconds, change.seconds_verdict) == (0.5, "slower")


@pytest.mark.parametrize(
    ("changed", "comparable"),
    [
        ({"cpu": "another"}, False),
        ({"threads": 4}, False),
        ({"versions": {"torch": "3", "scumble": "0.1"}}, False),
        ({"gpu": "one that the first had not"}, False),
        ({"versions": {"torch": "2", "scumble": "0.2"}}, True),
        ({"commit": "b", "date": "later", "load_average": [9.0]}, True),
        ({"weights_sha256": {"rooms": "y"}}, True),
    ],
)
def test_seconds_are_compared_on_one_machine_only(
    base: Measured, a_cell: Make, changed: dict[str, Any], comparable: bool
):
    cells = (base, a_cell("x", 1.0))
    found = compare(report(*cells), report(*cells, provenance={**ORIGIN, **changed}))
    assert found.times_comparable == comparable
    assert found.differences, "whatever differs is told"
    for change in found.changes:
        assert change.verdict == "within the spread", "ratios travel"
        assert (change.seconds is not None) == comparable
        assert change.seconds_verdict == ("within the spread" if comparable else "not compared")


def test_differences_name_both_sides(base: Measured):
    other = {**ORIGIN, "threads": 4}
    found = compare(report(base), report(base, provenance=other, settings={"rounds": 9, "new": 1}))
    told = {one.what: (one.first, one.second, one.hinders) for one in found.differences}
    assert told == {
        "threads": ("2", "4", True),
        "settings.rounds": ("3", "9", False),
        "settings.new": ("", "1", False),
    }


def test_cells_of_one_report_only_are_listed(base: Measured, a_cell: Make):
    found = compare(report(base, a_cell("a", 1.0)), report(base, a_cell("b", 1.0)))
    assert (found.only_first, found.only_second) == (("a",), ("b",))
    assert [change.name for change in found.changes] == ["base"]


def test_another_baseline_makes_ratios_no_comparison(base: Measured, a_cell: Make):
    x = a_cell("x", 1.0)
    found = compare(report(base, x), report(base, x, baseline="other"))
    assert found.baselines == ("base", "other")
    for change in found.changes:
        assert (change.ratio, change.verdict) == (None, "not compared")
        assert "baselines differ: base and other" in change.why
        assert change.seconds == 1, "one machine: seconds can be compared"
    changed = base.model_copy(update={"steps": 50})
    (_, change) = compare(report(base, x), report(changed, x)).changes
    assert "the baselines differ: steps 20 and 50" in change.why


def test_another_cell_under_one_name_is_no_comparison(base: Measured, a_cell: Make):
    one, two = a_cell("x", 1.0), a_cell("x", 1.0, precision="bf16", size=(512, 512))
    (_, change) = compare(report(base, one), report(base, two)).changes
    assert change.ratio is change.seconds is None
    assert change.why == "precision fp32 and bf16; size (128, 128) and (512, 512)"


def test_what_does_not_count_is_not_compared(base: Measured, a_cell: Make):
    fine, broken = a_cell("x", 1.0), a_cell("x", None, failure="no memory")
    (_, change) = compare(report(base, fine), report(base, broken)).changes
    assert (change.verdict, change.why) == ("not compared", "the second failed: no memory")
    peer = a_cell("x", 1.0, peer=True, agreement=0.5, tolerance=0.1)
    (_, change) = compare(report(base, peer), report(base, peer)).changes
    assert change.why.startswith("the first disagrees")


def test_without_a_ratio_the_seconds_remain(base: Measured, a_cell: Make):
    cell = a_cell("x", 1.0, ratio=None)
    (_, change) = compare(report(base, cell), report(base, cell)).changes
    assert (change.ratio, change.seconds, change.why) == (None, 1, "one of them has no ratio")
