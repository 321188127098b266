from itertools import combinations

import numpy as np
import pytest

from scumble_bench.reports.labels import Anchor, Box, overlap, place

FRAME = Box(0, 0, 800, 600)


def crowd() -> list[Anchor]:
    """Labels as wide as the points are apart."""
    rng = np.random.default_rng(7)
    spots = [
        (100 + 120 * column + float(dx), 100 + 60 * row + float(dy))
        for row in range(7)
        for column, (dx, dy) in enumerate(rng.uniform(-20, 20, (6, 2)))
    ]
    return [Anchor(x, y, 6, 110, 14) for x, y in spots]


def test_overlap_is_the_shared_area():
    assert overlap(Box(0, 0, 4, 4), Box(2, 1, 6, 3)) == 4
    assert overlap(Box(0, 0, 4, 4), Box(4, 0, 8, 4)) == 0
    assert overlap(Box(0, 0, 4, 4), Box(5, 5, 8, 8)) == 0


def test_labels_cover_neither_each_other_nor_points():
    anchors = crowd()
    boxes = place(anchors, FRAME)
    assert not any(overlap(one, two) for one, two in combinations(boxes, 2))
    assert not any(overlap(box, anchor.box) for box in boxes for anchor in anchors)
    for box, anchor in zip(boxes, anchors, strict=True):
        assert box.right - box.left == pytest.approx(anchor.width)
        assert box.top - box.bottom == pytest.approx(anchor.height)


def test_a_lone_label_is_close_to_its_point():
    (box,) = place([Anchor(400, 300, 6, 100, 14)], FRAME)
    assert box.left == 409
    assert box.bottom == 293


def test_labels_stay_within_the_frame():
    for x, y in ((5, 5), (795, 5), (5, 595), (795, 595)):
        (box,) = place([Anchor(x, y, 3, 100, 14)], FRAME)
        assert overlap(box, FRAME) == (box.right - box.left) * (box.top - box.bottom)


def test_labels_leave_lines_free():
    line = Box(0, 299, 800, 301)
    anchor = Anchor(400, 300, 6, 100, 14)
    (box,) = place([anchor], FRAME, [line])
    assert overlap(box, line) == 0


def test_the_same_crowd_is_labelled_the_same():
    assert place(crowd(), FRAME) == place(crowd(), FRAME)


def test_nothing_is_placed_of_nothing():
    assert place([], FRAME) == []
