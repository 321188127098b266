"""PSNR, SSIM and mean squared error against their formulas, in numpy and float64."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scumble_bench.evaluation.metrics.fidelity import mse, psnr, rows_of, ssim

Doubles = NDArray[np.float64]


@pytest.fixture
def pair(edit: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return edit.source.astype(np.float32) / 255, edit.edited.astype(np.float32) / 255


def smoothed(plane: Doubles) -> Doubles:
    """Gaussian means of a plane where a window of 11 fits, one axis after the other.

    With a mirrored border of 5 put around the plane before, that is everywhere.
    """
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    for axis in (0, 1):
        plane = np.apply_along_axis(np.convolve, axis, plane, window, "valid")
    return plane


def by_formula(one: Doubles, two: Doubles) -> float:
    """SSIM, equation 13 of Wang et al. 2004, each colour for itself."""
    small, smaller = 0.01**2, 0.03**2
    means: list[float] = []
    for colour in range(3):
        x, y = one[..., colour], two[..., colour]
        mx, my = smoothed(x), smoothed(y)
        vx, vy = smoothed(x * x) - mx**2, smoothed(y * y) - my**2
        both = smoothed(x * y) - mx * my
        table = (2 * mx * my + small) * (2 * both + smaller)
        table = table / ((mx**2 + my**2 + small) * (vx + vy + smaller))
        means.append(float(table.mean()))
    return float(np.mean(means))


def test_ssim_is_that_of_a_gaussian_window_of_eleven(pair: Any):
    doubles = [part.astype(np.float64) for part in pair]
    inside = by_formula(*doubles)
    mirrored = by_formula(
        *(np.pad(part, [(5, 5), (5, 5), (0, 0)], mode="reflect") for part in doubles)
    )
    # Variances as differences of means lose digits in float32: 1e-5 of it is rounding.
    assert ssim(*pair, cropped=True) == pytest.approx(inside, abs=2e-5)
    assert ssim(*pair, cropped=False) == pytest.approx(mirrored, abs=2e-5)
    assert 0.05 < inside < 0.95
    assert abs(inside - mirrored) > 1e-4
    assert ssim(pair[0], pair[0], cropped=True) == pytest.approx(1, abs=1e-6)


def test_mse_and_psnr_are_over_all_pixels_and_colours_black_ones_too(pair: Any):
    pair = [part * (np.arange(56) > 20)[:, None, None].astype(np.float32) for part in pair]
    wanted = float(np.mean((pair[0].astype(np.float64) - pair[1]) ** 2))
    assert mse(*pair) == pytest.approx(wanted, rel=1e-6)
    assert psnr(*pair) == pytest.approx(-10 * math.log10(wanted), abs=1e-5)


def test_equal_pictures_have_no_error(pair: Any):
    assert mse(pair[0], pair[0]) == 0
    assert psnr(pair[0], pair[0]) == math.inf


def test_rows_have_colours_first_and_memory_of_their_own(pair: Any):
    rows = rows_of(pair[0])
    assert rows.shape == (1, 3, 56, 40)
    assert float(rows[0, 2, 7, 9]) == pair[0][7, 9, 2]
    rows.zero_()
    assert pair[0].any()
