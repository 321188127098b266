import pytest

from scumble_bench.latency.core_targets import PARTS
from scumble_bench.latency.interleaving import Spread
from scumble_bench.latency.targets import TARGETS, Finding, verdicts


def test_names_are_unique_and_each_belongs_to_a_part():
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    assert {target.part for target in TARGETS} == set(PARTS)


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        ("demo.first", 4.0, "met"),
        ("demo.first", 3.99, "missed"),
        ("demo.next", 8.1, "met"),
        ("demo.next", 7.9, "missed"),
    ],
)
def test_a_value_on_the_good_side_meets_a_least(target: str, value: float, verdict: str):
    spread = Spread(value, value - 1, value + 1)
    found = {v["target"]: v for v in verdicts("demo", [Finding(target, "torch", spread)])}
    assert found[target]["verdict"] == verdict
    assert found[target]["value"] == value
    assert found[target]["spread"] == spread.as_json()


@pytest.mark.parametrize(("value", "verdict"), [(1.1, "met"), (1.11, "missed")])
def test_and_a_most(value: float, verdict: str):
    (routed, _) = verdicts("variants", [Finding("variants.routed", "torch", value)])
    assert (routed["verdict"], routed["spread"]) == (verdict, None)
    assert routed["threshold"] == "at most 1.1 times"


def test_each_engine_has_a_verdict_of_its_own():
    found = verdicts(
        "variants",
        [
            Finding("variants.routed", "torch", 1.0),
            Finding("variants.routed", "onnxruntime", None, "no pack"),
        ],
        "not looked at",
    )
    assert [(v["target"], v["engine"], v["verdict"], v["why"]) for v in found] == [
        ("variants.routed", "torch", "met", ""),
        ("variants.routed", "onnxruntime", "not measured", "no pack"),
        ("variants.reading", "any", "not measured", "not looked at"),
    ]


def test_a_value_with_a_reservation_decides_nothing():
    (bf16, _) = verdicts("precision", [Finding("precision.bf16", "torch", 2.5, "no AMX")])
    assert (bf16["verdict"], bf16["value"], bf16["why"]) == ("not measured", 2.5, "no AMX")
