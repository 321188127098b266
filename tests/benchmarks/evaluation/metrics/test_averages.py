"""Means over pictures."""

import math

from scumble_bench.evaluation.metrics.averages import mean


def test_undefined_rows_are_left_out_and_counted():
    assert mean([1.0, math.nan, 4.0, math.nan]) == (2.5, 2, 2)


def test_the_mean_of_nothing_is_undefined():
    value, rows, undefined = mean([math.nan])
    assert math.isnan(value)
    assert (rows, undefined) == (0, 1)


def test_an_exact_copy_makes_the_mean_infinite():
    assert mean([20.0, math.inf]).value == math.inf


def test_an_iterator_is_read_once():
    assert mean(iter([2.0, 4.0])) == (3.0, 2, 0)
