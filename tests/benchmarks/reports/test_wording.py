from collections.abc import Callable

import pytest

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports.wording import (
    bytes_text,
    cause,
    digits,
    labels,
    machine,
    range_text,
    seconds_text,
    standing,
    times_text,
)

Make = Callable[..., Measured]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2.00"), (9.996, "10.0"), (0.0123456, "0.0123"), (123.4, "123"), (12345, "12345"),
        (0.00999, "0.00999"), (0.9999, "1.00"), (0, "0"), (1.5e7, "1.5e+07"), (-3.14159, "-3.14"),
    ],
)  # fmt: skip
def test_three_digits_are_told_and_no_fewer(value: float, text: str):
    assert digits(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5e-5, "25.0 µs"), (0.0451, "45.1 ms"), (1, "1.00 s"), (599, "599 s"), (1200, "20.0 min")],
)
def test_times_have_a_unit_of_their_size(seconds: float, text: str):
    assert seconds_text(seconds) == text


def test_ratios_and_sizes():
    assert times_text(8.312) == "8.31×"
    assert (bytes_text(700 * 2**20), bytes_text(1536 * 2**20)) == ("700 MiB", "1.50 GiB")
    assert range_text(Range(median=2, p10=1, p90=3), "times") == "2.00× (1.00× to 3.00×)"


def test_ours_counts_and_a_peer_only_where_it_agrees(a_cell: Make):
    peer = {"peer": True, "tolerance": 1e-3}
    assert standing(a_cell("x", 1.0)) == "counts"
    assert standing(a_cell("x", 1.0, **peer, agreement=1e-3)) == "counts"
    assert standing(a_cell("x", 1.0, **peer, agreement=1.1e-3)) == "disagrees"
    assert standing(a_cell("x", 1.0, **peer, agreement=float("nan"))) == "disagrees"
    assert standing(a_cell("x", 1.0, **peer)) == "unchecked"
    assert standing(a_cell("x", 1.0, failure="broke after a run")) == "failed"
    assert standing(a_cell("x", None)) == "failed"


def test_what_does_not_count_says_why(a_cell: Make):
    peer = {"peer": True, "tolerance": 1e-3}
    assert cause(a_cell("x", 1.0)) == ""
    assert "0.31" in cause(a_cell("x", 1.0, **peer, agreement=0.31))
    assert "0.001 is allowed" in cause(a_cell("x", 1.0, **peer, agreement=0.31))
    assert "not compared" in cause(a_cell("x", 1.0, **peer))
    assert cause(a_cell("x", None, failure="no memory")) == "no memory"
    assert "nothing says why" in cause(a_cell("x", None))


def test_a_label_is_what_others_do_not_have(a_cell: Make):
    def of(*names: str) -> tuple[dict[str, str], str]:
        cells = tuple(a_cell(name, 1.0) for name in names)
        return labels(Bench(provenance={}, settings={}, baseline="x", cells=cells))

    assert of("plain, ort, 20 steps", "p2p, ort, 20 steps, next edit") == (
        {"plain, ort, 20 steps": "plain", "p2p, ort, 20 steps, next edit": "p2p, next edit"},
        "ort, 20 steps",
    )
    nothing_left = ("a, b", "a, b, c")
    assert of(*nothing_left) == ({name: name for name in nothing_left}, "")
    alike = ("p, s", "s, p", "s, q")
    assert of(*alike) == ({name: name for name in alike}, "")
    assert of("a, b") == ({"a, b": "a, b"}, "")
    assert of() == ({}, "")


def test_a_machine_is_named_with_its_threads():
    told = machine({"cpu": "A CPU", "cores": 8, "threads": 4, "gpu": "A GPU"})
    assert told == "A CPU, cores: 8, threads: 4, A GPU"
    assert "not named" in machine({})
