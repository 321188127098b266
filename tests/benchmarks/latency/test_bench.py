from dataclasses import replace
from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble.models import find_checkpoint
from scumble_bench.latency import bench
from scumble_bench.latency.bench import (
    SHORT_PEERS,
    BenchPlan,
    peers_named,
    run_bench,
    shortened,
)
from scumble_bench.latency.growth import AXES, GrowthPlan
from scumble_bench.latency.matrix.axes import Axes
from scumble_bench.latency.records import Bench

TINY = GrowthPlan(rows=(1,), scales=(1.0,), steps=(2,), edits=(1,), edit_steps=2, rounds=1)


def plan(model: Path) -> BenchPlan:
    """One method on an engine that is there and on one that is not; two steps, one round."""
    return BenchPlan(
        axes=Axes(("prompt_to_prompt",), ("torch", "absent"), models=(str(model),), steps=(2,)),
        peers=("reference prompt_to_prompt",),
        rounds=1,
        warmup=0,
        threads=1,
        memory=False,
        loading=False,
        grows=TINY,
        products=((16, 16, 16),),
        copied=1 << 12,
    )


@pytest.mark.thorough
def test_every_part_is_in_the_report_and_what_fails_says_why(small: Path):
    told: dict[str, int] = {}

    def begin(what: str, turns: int):
        told[what] = turns

        def tell(name: str) -> None:
            told[what] -= 1

        return tell

    made = run_bench(plan(small), begin)
    assert set(told.values()) == {0}
    assert set(told) == {"edits", "matrix products", "variants", "growth", "gradients"}
    reference, first, current, after, *absent = made.cells
    assert reference.name == made.baseline
    assert reference.agreement is not None
    for cell in (reference, first, current, after):
        assert cell.failure is None
        assert cell.ratio is not None
    assert len(absent) == 3
    assert all(cell.failure and "absent" in cell.failure for cell in absent)
    assert [c.engine for c in made.ceilings] == ["torch", "onnxruntime"]
    # The tiny checkpoint has no pack to count in, and the other engine is not there at all.
    assert [v.failure is None for v in made.variants] == [False, False]
    assert {g.axis for g in made.growth if g.engine == "torch" and not g.failure} == set(AXES)
    assert [g.failure is None for g in made.growth if g.engine == "absent"] == [False]
    verdicts = {(v.target, v.engine): v for v in made.targets}
    assert verdicts["prompt_to_prompt.first", "torch"].value is not None
    assert verdicts["prompt_to_prompt.first", "absent"].verdict == "not measured"
    assert "pack" in verdicts["gradient.graph", "any"].why
    assert "--shapes" in verdicts["host.share", "any"].why
    weights = made.provenance["weights_sha256"]
    assert weights == {str(small): find_checkpoint(small).fingerprint()}
    assert made.settings["steps"] == (2,)
    assert made.settings["peers"] == ("reference prompt_to_prompt",)
    assert Bench.model_validate_json(made.model_dump_json()).cells == made.cells


def test_parts_that_are_not_asked_for_are_left_out(small: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bench, "measure_matrix", lambda *given: ((), "nothing"))
    bare = replace(plan(small), limits=False, growth=False, gradient=False)
    made = run_bench(bare)
    assert (made.cells, made.ceilings, made.variants, made.growth, made.loading) == ((),) * 5
    assert all(verdict.verdict == "not measured" for verdict in made.targets)


def test_the_short_matrix_keeps_what_was_asked_for():
    short = shortened(BenchPlan())
    assert (short.axes.steps, short.rounds, short.peers) == ((10,), 3, SHORT_PEERS)
    assert max(short.grows.steps) < max(BenchPlan().grows.steps)
    asked = BenchPlan(axes=Axes(steps=(20,)), rounds=7, peers=("plain openvino",))
    short = shortened(asked)
    assert (short.axes.steps, short.rounds, short.peers) == ((20,), 7, ("plain openvino",))
    assert peers_named(SHORT_PEERS)


def test_a_peer_that_there_is_not_is_refused():
    with pytest.raises(OptionError, match="no peer 'x'"):
        peers_named(("plain diffusers", "x"))


def test_a_report_names_a_folder_and_not_where_it_lies(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bench, "measure_matrix", lambda *given: ((), "nothing"))
    monkeypatch.setattr(bench, "measure_shapes", lambda settings: ())
    asked = replace(plan(small), limits=False, growth=False, gradient=False)
    made = run_bench(replace(asked, shapes=tmp_path / "sd15", shapes_pack=tmp_path / "sd15-pack"))
    assert (made.settings["shapes"], made.settings["shapes_pack"]) == ("sd15", "sd15-pack")
    assert str(tmp_path) not in str(made.settings)
