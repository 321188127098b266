from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from pydantic import ValidationError

from scumble_bench.reports.points import QualityPoint, dominates, front, outline, stairs

Make = Callable[..., QualityPoint]


@pytest.fixture
def crowd(a_point: Make) -> list[QualityPoint]:
    """Points of two tasks with many ties."""
    rng = np.random.default_rng(11)
    found = [
        a_point(
            f"{index}", int(rng.integers(0, 6)) / 5, float(rng.integers(15, 20)),
            rows=float(rng.integers(1, 4)), gradients=float(rng.integers(0, 2)),
            masked=bool(rng.integers(0, 2)), task=str(rng.choice(["colour", "pose"])),
        )
        for index in range(60)
    ]  # fmt: skip
    return [*found, a_point("no outside", 1.0, None)]


def by_force(points: Sequence[QualityPoint]) -> list[str]:
    """The front, spelled out."""
    found: list[str] = []
    for point in points:
        if point.psnr is None:
            continue
        beaten = False
        for other in points:
            if other.psnr is None or other.task != point.task:
                continue
            nowhere_worse = (
                other.success >= point.success
                and other.psnr >= point.psnr
                and other.rows <= point.rows
                and other.gradients <= point.gradients
                and (point.masked or not other.masked)
            )
            better = (
                other.success > point.success
                or other.psnr > point.psnr
                or other.rows < point.rows
                or other.gradients < point.gradients
                or (point.masked and not other.masked)
            )
            beaten = beaten or (nowhere_worse and better)
        if not beaten:
            found.append(point.label)
    return found


def test_the_front_is_what_nothing_beats(crowd: list[QualityPoint]):
    labels = [point.label for point in front(crowd)]
    assert labels == by_force(crowd)
    assert 0 < len(labels) < len(crowd) / 2


def test_dominance_has_no_circles(crowd: list[QualityPoint]):
    assert any(dominates(one, two) for one, two in product(crowd, crowd))
    assert not any(dominates(a, b) and dominates(b, a) for a, b in product(crowd, crowd))


def test_equals_do_not_dominate_each_other_and_tasks_are_apart(a_point: Make):
    one = a_point("one", 0.5, 20.0)
    assert not dominates(one, a_point("two", 0.5, 20.0))
    assert dominates(one, a_point("two", 0.4, 20.0))
    assert not dominates(one, a_point("two", 0.4, 20.0, task="pose"))
    assert not dominates(one, a_point("two", 0.4, None))


def test_who_was_told_more_does_not_beat_who_was_told_less(a_point: Make):
    told, untold = a_point("told", 0.9, 30.0, masked=True), a_point("untold", 0.5, 20.0)
    assert not dominates(told, untold)
    assert dominates(a_point("untold", 0.9, 30.0), told)


def test_the_outline_is_the_front_of_success_and_psnr(crowd: list[QualityPoint]):
    mine = [point for point in crowd if point.task == "colour"]
    corners = outline(mine)
    placed = [(p.psnr, p.success) for p in mine if p.psnr is not None]
    wanted = {
        one
        for one in placed
        if not any(a >= one[0] and b >= one[1] and (a, b) != one for a, b in placed)
    }
    assert [(p.psnr, p.success) for p in corners] == sorted(wanted, reverse=True)


def test_the_stairs_go_level_to_the_left_and_only_then_up(a_point: Make):
    given = [("a", 0.2, 30.0), ("b", 0.5, 25.0), ("under", 0.4, 22.0), ("c", 0.9, 20.0)]
    corners = outline([a_point(*each) for each in given])
    assert [point.label for point in corners] == ["a", "b", "c"]
    assert stairs(corners) == [
        (30.0, 0.0), (30.0, 0.2), (25.0, 0.2), (25.0, 0.5), (20.0, 0.5), (20.0, 0.9),
    ]  # fmt: skip
    assert stairs([]) == []


def test_a_point_checks_itself(a_point: Make):
    for wrong in ({"success": 1.2}, {"rows": -1}, {"pictures": 0}, {"unknown": 1}):
        with pytest.raises(ValidationError):
            QualityPoint.model_validate({**a_point("x", 0.5, 20.0).model_dump(), **wrong})


def test_a_point_comes_back_from_json(a_point: Make):
    point = a_point("x", 0.5, 20.0, also=("y",))
    assert QualityPoint.model_validate_json(point.model_dump_json()) == point
