from dataclasses import replace
from typing import Any

import pytest

from scumble_bench.latency import composed
from scumble_bench.latency.composed import OPTIONS, count_steps, measure
from scumble_bench.latency.edited import TimedEdit
from scumble_bench.latency.interleaving import Spread
from scumble_bench.latency.parts import Settings
from scumble_engines.torch.attention import PortProcessor


def rows(counts: dict[str, int]) -> int:
    """Row evaluations of an edit, from the names of its steps."""
    return sum(count * int(kind.split(": ")[1].split()[0]) for kind, count in counts.items())


@pytest.mark.thorough
def test_an_edit_of_fifty_steps_is_counted_as_it_runs(quick: Settings):
    with quick.load(quick.model, "torch") as editor:
        counted = count_steps(editor, TimedEdit(50, OPTIONS), "torch")
    assert (rows(counted.first), rows(counted.next)) == (200, 100)
    assert counted.first["torch: 1 row, plain"] == 50
    assert {cell.name for cell in counted.cells} == set(counted.first) | set(counted.next)


@pytest.mark.thorough
def test_an_edit_is_composed_of_its_steps(quick: Settings):
    part = measure(replace(quick, steps=5))
    facts, done = part.facts["torch"], part.comparisons["torch"]
    assert facts["reference"]["steps"] == {
        "reference: 1 row, inversion": 5,
        "reference: 4 rows, offset": 5,
        "reference: 4 rows, edit, self-attention taken": 3,
        "reference: 4 rows, edit, self-attention kept": 2,
    }
    assert rows(facts["reference"]["steps"]) == 45
    assert (rows(facts["first edit"]["steps"]), rows(facts["next edit"]["steps"])) == (20, 10)
    assert not done.failure(*done.timings)
    medians = {name: cell["median"] for name, cell in done.as_json()["cells"].items()}
    for said in (facts["reference"], facts["first edit"], facts["next edit"]):
        total = sum(count * medians[kind] for kind, count in said["steps"].items())
        assert said["seconds"]["median"] == pytest.approx(total, rel=1e-3)
    first, after = part.findings
    wanted = facts["reference"]["seconds"]["median"] / facts["next edit"]["seconds"]["median"]
    assert (first.target, after.target) == ("shapes.first", "shapes.next")
    assert isinstance(after.value, Spread)
    assert after.value.median == pytest.approx(wanted, rel=1e-3)
    assert "composed" in part.facts["composed"]


@pytest.mark.thorough
def test_on_one_unet_each_side_runs_with_its_own_attention(
    quick: Settings, monkeypatch: pytest.MonkeyPatch
):
    """What a cell runs with is put in place before it, whatever ran before."""
    seen: dict[str, bool] = {}
    interleave = composed.interleave

    def watched(*cells: Any, **how: Any) -> Any:
        for cell in (*cells, *cells[::-1]):
            cell.prepare()
            (loaded,) = {type(p) for p in unets[0].attn_processors.values()}
            ours = loaded is PortProcessor
            assert seen.setdefault(cell.name, ours) == ours
            cell.run()
        return interleave(*cells, **how)

    unets: list[Any] = []
    modules = composed.Modules

    def noted(unet: Any, *rest: Any) -> Any:
        unets.append(unet)
        return modules(unet, *rest)

    monkeypatch.setattr(composed, "interleave", watched)
    monkeypatch.setattr(composed, "Modules", noted)
    measure(quick)
    assert {name.split(":")[0]: ours for name, ours in seen.items()} == {
        "reference": False,
        "torch": True,
    }


@pytest.mark.thorough
def test_an_engine_without_a_pack_says_so_and_the_others_go_on(quick: Settings):
    part = measure(replace(quick, engines=("onnxruntime", "torch")))
    whys = [(f.engine, f.target, f.why) for f in part.findings]
    assert [(engine, target) for engine, target, why in whys if "--shape-pack" in why] == [
        ("onnxruntime", "shapes.first"),
        ("onnxruntime", "shapes.next"),
    ]
    assert set(part.comparisons) == {"torch"}
