from typing import Any

import pytest

from scumble_bench.latency.matrix.judging import TARGETS, judged, ratio_of
from scumble_bench.latency.records import Measured, Range
from scumble_bench.latency.targets import Finding


def cell(method: str, *seconds: float, **more: Any) -> Measured:
    given: dict[str, Any] = {
        "engine": "torch", "precision": "fp32", "model": "m", "size": (8, 8), "steps": 2,
        "edit": "first", "seconds": seconds, **more,
    }  # fmt: skip
    name = given.pop("name", f"{method} {given}")
    return Measured(name=name, method=method, **given)


REFERENCE = cell("reference masactrl", 8.0, 40.0, 9.0, peer=True)


def verdicts(*cells: Measured, **more: Any) -> dict[tuple[str, str], tuple[str, float | None]]:
    return {(v.target, v.engine): (v.verdict, v.value) for v in judged(cells, **more)}


def test_a_ratio_is_taken_round_by_round():
    spread = ratio_of(cell("a", 8, 40, 9), cell("b", 2, 20, 3, 100))
    assert spread is not None
    assert spread.median == 3


@pytest.mark.parametrize(("seconds", "edit", "verdict"), [
    ((2.0, 10.0, 2.25), "first", "met"),
    ((2.1, 10.1, 2.26), "first", "missed"),
    ((2.0, 10.0, 2.25), "next", "missed"),
    ((1.0, 5.0, 1.1), "next", "met"),
])  # fmt: skip
def test_first_and_next_edits_have_their_bounds(
    seconds: tuple[float, ...], edit: str, verdict: str
):
    found = verdicts(REFERENCE, cell("masactrl", *seconds, edit=edit))
    assert found[f"masactrl.{edit}", "torch"][0] == verdict


def test_each_engine_and_precision_has_a_verdict_against_its_own_reference():
    half = cell("reference masactrl", 40.0, peer=True, precision="bf16")
    found = verdicts(
        REFERENCE,
        half,
        cell("masactrl", 1.0, engine="onnxruntime"),
        cell("masactrl", 4.0, precision="bf16"),
        cell("masactrl", 4.0),
        cell("masactrl", 2.0, convention="current"),
    )
    assert found["masactrl.first", "torch, current"] == ("met", 4)
    assert found["masactrl.first", "onnxruntime"] == ("met", 8)
    assert found["masactrl.first", "torch bf16"] == ("met", 10)
    assert found["masactrl.first", "torch"] == ("missed", 2)


def test_what_was_not_measured_says_why():
    (failed,) = (
        v
        for v in judged([cell("reference masactrl", peer=True, failure="no"), cell("masactrl", 1)])
        if v.target == "masactrl.first"
    )
    assert failed.verdict == "not measured"
    assert "no" in failed.why
    (alone,) = (v for v in judged([cell("masactrl", 1)]) if v.target == "masactrl.first")
    assert "not run beside" in alone.why
    nothing = judged([])
    assert {v.target for v in nothing} == {target.name for target in TARGETS}
    assert all(v.verdict == "not measured" and v.why for v in nothing)


def test_shapes_and_gradients_are_judged_too():
    composed = {"composed": True, "model": "s"}
    shapes = [
        cell("reference prompt_to_prompt", 40.0, peer=True, name="r, beside torch", **composed),
        cell("reference prompt_to_prompt", 90.0, peer=True, name="r, beside onnxruntime",
             **composed),
        cell("prompt_to_prompt", 9.0, engine="onnxruntime", **composed),
        cell("prompt_to_prompt", 8.0, edit="next", **composed),
        cell("prompt_to_prompt", 1.0, model="s", host_share=Range(median=0.02, p10=0, p90=1)),
        cell("prompt_to_prompt", 1.0, model="s", engine="onnxruntime",
             host_share=Range(median=0.021, p10=0, p90=1)),
    ]  # fmt: skip
    gradient = [Finding("gradient.graph", "onnxruntime", 0.9)]
    found = verdicts(gradient=gradient, shapes=shapes)
    assert found["shapes.first", "onnxruntime"] == ("met", 10)
    assert found["shapes.next", "torch"] == ("missed", 5)
    assert found["host.share", "torch"] == ("met", 0.02)
    assert found["host.share", "onnxruntime"] == ("missed", 0.021)
    assert found["gradient.graph", "onnxruntime"] == ("missed", 0.9)
