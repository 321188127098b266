import io
from itertools import combinations

import matplotlib
import pytest
from matplotlib.figure import Figure
from PIL import Image

from scumble_bench.reports.style import (
    DARK,
    LIGHT,
    Plot,
    Theme,
    bare,
    doublings,
    render,
    round_numbers,
    shortened,
    titled,
)


def line(figure: Figure, theme: Theme) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=theme.colours[0])
    titled(axes, "costs $\\frac$ and is no formula", theme, "below")


PLOT = Plot("line", "a line", (3, 2), line)


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, two: str) -> float:
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_the_same_data_gives_the_same_bytes_and_nothing_else_is_told():
    content = render(PLOT)
    assert content == render(PLOT)
    with Image.open(io.BytesIO(content)) as picture:
        assert set(picture.info) <= {"dpi"}
        assert picture.size == (480, 320)


def test_the_reader_s_settings_change_nothing():
    content = render(PLOT)
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 20}):
        assert render(PLOT) == content


@pytest.mark.parametrize(("theme", "pixel"), [(LIGHT, (255, 255, 255)), (DARK, (21, 24, 28))])
def test_the_ground_is_the_theme_s(theme: Theme, pixel: tuple[int, int, int]):
    with Image.open(io.BytesIO(render(PLOT, theme))) as picture:
        assert picture.convert("RGB").getpixel((1, 1)) == pixel


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_what_is_drawn_can_be_seen(theme: Theme):
    """WCAG 2: 4.5 for text; marks have their name beside them, and their shape."""
    assert contrast(theme.ink, theme.ground) > 7
    assert contrast(theme.quiet, theme.ground) > 4.5
    assert contrast(theme.colours[0], theme.ground) > 4.5
    assert all(contrast(colour, theme.ground) > 2 for colour in theme.colours)
    assert all(one != two for one, two in combinations(theme.colours, 2))


def test_a_label_is_one_line_and_ends():
    assert shortened("a\n b") == "a b"
    assert shortened("begins, and then goes on for long, and ends", 15) == "begins,…nd ends"
    assert len(shortened("x" * 70)) == 60
    assert shortened("x" * 60) == "x" * 60


def test_names_stand_from_top_to_bottom():
    figure = Figure()
    axes = figure.subplots()
    bare(axes, ["first", "second"])
    bottom, top = axes.get_ylim()
    assert bottom > top
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 8, [1, 2, 4, 8]), (0.9, 9, [0.5, 1, 2, 4, 8, 16]), (1, 1, [1]),
        (0.5, 1000, [0.1, 1, 10, 100, 1000]),
    ],
)  # fmt: skip
def test_ratios_double(low: float, high: float, ticks: list[float]):
    assert doublings(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (1, 8, [1, 2, 5, 10]), (0.03, 0.4, [0.02, 0.05, 0.1, 0.2, 0.5]), (2, 2, [2]),
        (0.003, 40, [0.001, 0.01, 0.1, 1, 10, 100]),
    ],
)  # fmt: skip
def test_times_have_round_numbers(low: float, high: float, ticks: list[float]):
    assert round_numbers(low, high) == pytest.approx(ticks)


def test_a_long_line_below_the_title_does_not_narrow_the_plot():
    figure = Figure(layout="constrained")
    titled(figure.subplots(), "title", LIGHT, "x" * 500)
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width > 0.8
