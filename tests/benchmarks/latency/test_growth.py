from pathlib import Path

import numpy as np
import pytest

from scumble import Editor
from scumble_bench.latency.growth import GrowthPlan, fit, hooked_ports, measure_growth
from scumble_bench.latency.records import Point, Range

PLAN = GrowthPlan(
    rows=(1, 2, 3), scales=(0.5, 1.0), steps=(2, 3), edits=(1, 2), edit_steps=2, rounds=1
)


def points(*heights: float) -> list[Point]:
    return [Point(x=x, seconds=Range(median=y, p10=y, p90=9 * y)) for x, y in enumerate(heights, 1)]


def test_the_line_goes_through_medians_by_least_squares():
    straight = fit(points(5, 7, 9))
    assert straight is not None
    assert (straight.constant, straight.slope) == pytest.approx((3, 2))
    assert straight.r_squared == pytest.approx(1)
    # By hand: slope (1 * 1 + 0 + 1 * 2) / 2; 1.5 of 6 squares are left over.
    bent = fit(points(1, 1, 4))
    assert bent is not None
    assert (bent.constant, bent.slope) == pytest.approx((-1, 1.5))
    assert bent.r_squared == pytest.approx(1 - 1.5 / 6)


def test_a_level_line_explains_all_and_two_points_have_none():
    level = fit(points(2, 2, 2))
    assert level is not None
    assert (level.slope, level.r_squared) == (pytest.approx(0, abs=1e-12), 1)
    assert fit(points(1, 2)) is None


def test_as_many_sites_are_edited_as_were_asked_for(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        total = editor.session.info.sites.count("self") + editor.session.info.sites.count("cross")
        still = editor.session.engine.step(hooked_ports(editor, 0)).noise
        for count in (0, 3, total):
            ports = hooked_ports(editor, count)
            routes, gates = np.asarray(ports["route"]), np.asarray(ports["mix.sites"])
            changed = (routes != np.arange(3)).any((1, 2)).sum() + gates.any(1).sum()
            assert changed == count
            moved = editor.session.engine.step(ports).noise
            assert (np.abs(moved[1] - still[1]).max() > 1e-4) == (count > 0)
            np.testing.assert_allclose(moved[[0, 2]], still[[0, 2]], atol=1e-5)


@pytest.mark.thorough
def test_every_axis_has_its_points(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        rows, pixels, steps, sites, edits = measure_growth(editor, "tiny", plan=PLAN)
    assert [point.x for point in rows.points] == [1, 2, 3]
    assert [point.x for point in pixels.points] == [16 * 16, 32 * 32]
    assert [point.x for point in steps.points] == [2, 3]
    assert [point.x for point in sites.points] == [0, 2, 4, 6, 8]
    assert [point.x for point in edits.points] == [1, 2]
    assert rows.fit is not None
    assert steps.fit is None
    for grown in (rows, pixels, steps, sites, edits):
        assert grown.failure is None
        assert (grown.engine, grown.model) == ("torch", "tiny")
        assert all(point.seconds.median > 0 for point in grown.points)


def test_a_point_that_fails_is_told_and_the_others_stay(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        whole, engine = editor.session.engine.step, editor.session.engine

        def step(ports: dict[str, np.ndarray]) -> object:
            if len(ports["sample"]) == 2:
                raise MemoryError("too many rows")
            return whole(ports)

        engine.step = step  # pyright: ignore[reportAttributeAccessIssue]
        (rows,) = measure_growth(editor, "tiny", ("rows",), PLAN)
    assert [point.x for point in rows.points] == [1, 3]
    assert rows.failure == "2: MemoryError: too many rows"


def test_many_points_that_fail_are_told_once(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:

        def step(ports: dict[str, np.ndarray]) -> object:
            raise MemoryError("no row")

        editor.session.engine.step = step  # pyright: ignore[reportAttributeAccessIssue]
        (rows,) = measure_growth(editor, "tiny", ("rows",), PLAN)
    assert rows.points == ()
    assert rows.failure == "3 of 3 points are missing; 1: MemoryError: no row"
