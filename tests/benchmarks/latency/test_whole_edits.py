from dataclasses import replace

import pytest

from scumble_bench.latency.parts import Settings
from scumble_bench.latency.whole_edits import measure


@pytest.mark.thorough
def test_first_and_next_edits_are_timed_against_the_reference(quick: Settings):
    part = measure(quick)
    done = part.comparisons["edits"]
    assert set(done.timings) == {"reference", "torch: first edit", "torch: next edit"}
    assert not done.failure(*done.timings)
    # 1 + 4 + 4 rows a step; 1 + 3 of ours; then 2.
    rows = {"reference": 18, "torch: first edit": 8, "torch: next edit": 4}
    assert part.facts["rows"] == rows
    found = {finding.target: finding for finding in part.findings}
    assert found["demo.first"].value == done.ratio("reference", "torch: first edit")
    assert found["demo.next"].value == done.ratio("reference", "torch: next edit")
    assert {finding.engine for finding in part.findings} == {"torch"}
    assert list(part.weights) == [quick.model]


@pytest.mark.thorough
def test_seconds_of_fewer_steps_decide_nothing(quick: Settings):
    (seconds,) = (f for f in measure(quick).findings if f.target == "demo.seconds")
    assert seconds.value is not None
    assert seconds.why == "the target is for 50 steps, and 2 were run"


@pytest.mark.thorough
def test_an_engine_that_cannot_be_loaded_says_why_and_the_others_go_on(quick: Settings):
    part = measure(replace(quick, engines=("nonesuch", "torch")))
    whys = {(f.engine, f.target): f.why for f in part.findings}
    assert "no engine 'nonesuch'" in whys["nonesuch", "demo.first"]
    assert "no engine 'nonesuch'" in whys["nonesuch", "demo.seconds"]
    assert not whys["torch", "demo.next"]
