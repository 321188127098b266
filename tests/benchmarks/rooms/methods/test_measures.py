"""Each measure against the same said in another way."""

import math

import numpy as np
import pytest

from scumble_bench.rooms.methods.measures import (
    box_iou,
    box_of,
    grown,
    iou,
    largest_part,
    psnr,
    ssim,
    ssim_map,
)


def pictures(height: int = 14, width: int = 17) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    before = rng.integers(256, size=(height, width, 3), dtype=np.uint8)
    after = np.clip(before + rng.normal(0, 30, before.shape), 0, 255).astype(np.uint8)
    return before, after


def some_mask(height: int = 14, width: int = 17) -> np.ndarray:
    return np.random.default_rng(1).random((height, width)) < 0.4


@pytest.mark.parametrize(("off", "decibels"), [(255, 0.0), (51, 13.979), (0, 100.0)])
def test_psnr_counts_only_where_it_is_asked(off: int, decibels: float):
    before, after = np.zeros((2, 4, 4, 3), np.uint8)
    after[0] = off
    after[1] = 77
    where = np.zeros((4, 4), bool)
    where[0] = True
    assert psnr(before, after, where) == pytest.approx(decibels, abs=1e-3)


def mirrored(index: int, length: int) -> int:
    """An index beyond an edge, mirrored at the edge's pixel."""
    if index < 0:
        return -index
    return 2 * (length - 1) - index if index >= length else index


def ssim_at(one: np.ndarray, two: np.ndarray, y: int, x: int) -> float:
    """The structural similarity of one pixel, by its definition."""
    height, width = one.shape
    seen: list[tuple[float, float, float]] = []
    for dy in range(-5, 6):
        for dx in range(-5, 6):
            weight = math.exp(-(dy * dy + dx * dx) / (2 * 1.5 * 1.5))
            at = mirrored(y + dy, height), mirrored(x + dx, width)
            seen.append((weight, float(one[at]), float(two[at])))
    total = sum(weight for weight, _, _ in seen)
    mean_one = sum(w * a for w, a, _ in seen) / total
    mean_two = sum(w * b for w, _, b in seen) / total
    var_one = sum(w * (a - mean_one) ** 2 for w, a, _ in seen) / total
    var_two = sum(w * (b - mean_two) ** 2 for w, _, b in seen) / total
    both = sum(w * (a - mean_one) * (b - mean_two) for w, a, b in seen) / total
    c1, c2 = 6.5025, 58.5225
    return ((2 * mean_one * mean_two + c1) * (2 * both + c2)) / (
        (mean_one**2 + mean_two**2 + c1) * (var_one + var_two + c2)
    )


def test_ssim_is_that_of_its_definition():
    before, after = pictures()
    one, two = (0.299 * p[..., 0] + 0.587 * p[..., 1] + 0.114 * p[..., 2] for p in (before, after))
    wanted = np.array([[ssim_at(one, two, y, x) for x in range(17)] for y in range(14)])
    assert np.abs(ssim_map(before, after) - wanted).max() < 1e-9
    where = some_mask()
    listed = [wanted[y, x] for y in range(14) for x in range(17) if where[y, x]]
    assert ssim(before, after, where) == pytest.approx(sum(listed) / len(listed), abs=1e-9)
    assert ssim(before, before, where) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("pixels", [1, 3])
def test_a_mask_grows_by_so_many_pixels(pixels: int):
    mask = np.zeros((14, 17), bool)
    mask[[2, 9], [3, 12]] = True
    wanted = {
        (y, x)
        for y in range(14)
        for x in range(17)
        if any(max(abs(y - a), abs(x - b)) <= pixels for a, b in ((2, 3), (9, 12)))
    }
    assert set(zip(*map(list, np.nonzero(grown(mask, pixels))), strict=True)) == wanted


def test_overlap_is_that_of_the_sets_of_pixels():
    one, two = some_mask(), np.random.default_rng(2).random((14, 17)) < 0.6
    first = set(np.flatnonzero(one).tolist())
    second = set(np.flatnonzero(two).tolist())
    assert iou(one, two) == pytest.approx(len(first & second) / len(first | second))
    assert iou(np.zeros_like(one), np.zeros_like(one)) == 0


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ((2, 3, 9, 8), (5, 1, 12, 6)),
        ((2, 3, 9, 8), (2, 3, 9, 8)),
        ((0, 0, 3, 3), (3, 0, 6, 3)),
        ((0, 0, 3, 3), (8, 8, 12, 12)),
        ((1, 1, 12, 12), (3, 4, 5, 6)),
    ],
)
def test_boxes_overlap_as_their_pixels_do(
    one: tuple[int, int, int, int], two: tuple[int, int, int, int]
):
    masks = np.zeros((2, 14, 17), bool)
    for mask, (left, top, right, bottom) in zip(masks, (one, two), strict=True):
        mask[top:bottom, left:right] = True
        assert box_of(mask) == (left, top, right, bottom)
    assert box_iou(one, two) == pytest.approx(iou(*masks))


def test_the_largest_part_is_that_of_a_search_cell_by_cell():
    mask = some_mask()
    parts: list[set[tuple[int, int]]] = []
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while left:
        part, edge = set[tuple[int, int]](), [left.pop()]
        while edge:
            y, x = edge.pop()
            part.add((y, x))
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            edge += near
        parts.append(part)
    sizes = sorted((len(part) for part in parts), reverse=True)
    assert sizes[0] > sizes[1] > 1, "the mask does not tell the largest part from the others"
    found = {(int(y), int(x)) for y, x in np.argwhere(largest_part(mask))}
    assert found == max(parts, key=len)


def test_nothing_has_no_box_and_no_part():
    empty = np.zeros((4, 4), bool)
    assert box_of(empty) is None
    assert not largest_part(empty).any()
