"""Seconds by stage."""

import time

import pytest

from scumble.stopwatch import Stopwatch


def test_times_of_a_stage_add_up(monkeypatch: pytest.MonkeyPatch):
    clock = iter([1.0, 1.5, 10.0, 10.25, 20.0, 23.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    watch = Stopwatch()
    for stage in ("text", "sampling", "text"):
        with watch.stage(stage):
            pass
    assert watch.seconds == {"text": 3.5, "sampling": 0.25}


def test_a_stage_that_fails_is_timed_too():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("decode"):
        raise KeyError
    assert watch.seconds["decode"] >= 0
