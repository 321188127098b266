from dataclasses import replace

import pytest

from scumble_bench.latency.parts import Settings
from scumble_bench.latency.variants import measure


@pytest.mark.thorough
def test_variants_are_compared_with_plain_at_equal_rows(quick: Settings):
    part = measure(quick)
    done = part.comparisons["torch"]
    assert list(done.timings) == ["plain", "routed", "reading"]
    assert not done.failure(*done.timings)
    assert [(f.target, f.value, f.why) for f in part.findings] == [
        ("variants.routed", done.ratio("routed", "plain"), ""),
        ("variants.reading", done.ratio("reading", "plain"), ""),
    ]
    assert part.facts["rows"] == 3


@pytest.mark.thorough
def test_an_engine_without_a_pack_says_so_and_the_others_go_on(quick: Settings):
    part = measure(replace(quick, engines=("onnxruntime", "torch")))
    assert ["--shape-pack" in f.why for f in part.findings] == [True, True, False, False]
