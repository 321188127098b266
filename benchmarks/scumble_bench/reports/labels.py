"""Where labels go, so that they neither cover each other nor the points that they name.

Greedy, then improved label by label, as in Christensen, Marks and Shieber 1995, "An Empirical Study
of Algorithms for Point-Feature Label Placement", but without chance: equal input, equal places.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Anchor", "Box", "overlap", "place"]

ANGLES = 16
GAPS = (3, 9, 18, 30, 44, 60, 80)
"""Pixels between a point's rim and its label, nearest first."""
PASSES = 4
FAR = 4.0
"""Square pixels of overlap that one pixel of distance is worth avoiding."""
OUTSIDE = 5.0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, half-open."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class Anchor:
    """A point with the size of its label, in pixels."""

    x: float
    y: float
    radius: float
    width: float
    height: float

    @property
    def box(self) -> Box:
        """What the point itself covers."""
        reach = self.radius
        return Box(self.x - reach, self.y - reach, self.x + reach, self.y + reach)


def overlap(one: Box, two: Box) -> float:
    """Return the area that two boxes share, in square pixels."""
    wide = min(one.right, two.right) - max(one.left, two.left)
    high = min(one.top, two.top) - max(one.bottom, two.bottom)
    return max(0.0, wide) * max(0.0, high)


def place(anchors: Sequence[Anchor], frame: Box, lines: Sequence[Box] = ()) -> list[Box]:
    """Return the box of each label.

    Args:
        anchors: in the order in which they choose.
        frame: that labels should stay within.
        lines: what else they should leave free, as thin boxes.
    """
    taken = [*(anchor.box for anchor in anchors), *lines]
    choices = [_choices(anchor) for anchor in anchors]
    # What a label pays wherever the others are.
    fixed = [
        [_fixed(box, away, taken, frame) for box, away in zip(*of, strict=True)] for of in choices
    ]
    chosen: list[int | None] = [None] * len(anchors)
    for _ in range(PASSES):
        before = list(chosen)
        for index, (boxes, _) in enumerate(choices):
            others = [
                choices[other][0][at]
                for other, at in enumerate(chosen)
                if at is not None and other != index
            ]
            costs = [
                cost + sum(overlap(box, other) for other in others)
                for box, cost in zip(boxes, fixed[index], strict=True)
            ]
            chosen[index] = costs.index(min(costs))
        if chosen == before:
            break
    return [boxes[at or 0] for (boxes, _), at in zip(choices, chosen, strict=True)]


def _choices(anchor: Anchor) -> tuple[list[Box], list[float]]:
    """Return where a label may go, and how far from its point's rim."""
    boxes: list[Box] = []
    gaps: list[float] = []
    for gap in GAPS:
        for step in range(ANGLES):
            angle = 2 * math.pi * step / ANGLES
            across, up = math.cos(angle), math.sin(angle)
            x = anchor.x + across * (anchor.radius + gap)
            y = anchor.y + up * (anchor.radius + gap)
            # The side that faces the point touches the circle.
            left = x - anchor.width * (1 - across) / 2
            bottom = y - anchor.height * (1 - up) / 2
            boxes.append(Box(left, bottom, left + anchor.width, bottom + anchor.height))
            gaps.append(gap)
    return boxes, gaps


def _fixed(box: Box, gap: float, taken: Sequence[Box], frame: Box) -> float:
    area = (box.right - box.left) * (box.top - box.bottom)
    beyond = area - overlap(box, frame)
    return OUTSIDE * beyond + FAR * gap + 2 * sum(overlap(box, one) for one in taken)
