from dataclasses import replace
from pathlib import Path

import pytest

from scumble_bench.latency.interleaving import interleave
from scumble_bench.latency.matrix.axes import CellSpec, Edit
from scumble_bench.latency.matrix.cases import case_of
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.matrix.ours import OwnCell, generates


def spec(model: Path, edit: Edit, method: str = "prompt_to_prompt") -> CellSpec:
    return CellSpec(method, "torch", "fp32", str(model), (32, 32), 2, edit)


def test_first_and_next_edits_are_what_they_say(small: Path):
    with Editors("cpu", 1) as editors:
        cells = [OwnCell(spec(small, "first"), editors), OwnCell(spec(small, "next"), editors)]
        done = interleave(*(cell.cell() for cell in cells), rounds=2, warmup=1)
        first, after = (cell.measured(done, cells[0].spec.name) for cell in cells)
    for made in (first, after):
        assert made.failure is None
        assert len(made.seconds) == 2
        assert made.spread is not None
        stages = {stage.stage for stage in made.stages}
        assert {"encode", "decode", "host"} <= stages
        total = sum(stage.seconds.median for stage in made.stages)
        assert 0.3 < total / made.spread.median < 3
    assert first.ratio is not None
    assert first.ratio.median == 1
    assert (first.rows, after.rows) == (8, 4)
    # Every first edit encodes its prompts and inverts; a next one does neither.
    assert {"text", "inversion"} <= {stage.stage for stage in first.stages}
    assert {"text", "inversion"}.isdisjoint(stage.stage for stage in after.stages)
    assert len(cells[0].runs) == 3


def test_the_current_convention_saves_the_source_rows(small: Path):
    with Editors("cpu", 1) as editors:
        told = replace(spec(small, "first"), convention="current")
        cells = [OwnCell(spec(small, "first"), editors), OwnCell(told, editors)]
        done = interleave(*(cell.cell() for cell in cells), rounds=1, warmup=0)
        usual, current = (cell.measured(done, cells[0].spec.name) for cell in cells)
    assert (usual.convention, current.convention) == ("target", "current")
    # Two steps: of the second one the inversion has run the source row.
    assert (usual.rows, current.rows) == (8, 7)


def test_a_cell_that_fails_has_a_record_with_its_cause(small: Path):
    with Editors("cpu", 1) as editors:
        cell = OwnCell(spec(small, "first", "nothing"), editors)
        made = cell.measured(interleave(cell.cell(), rounds=1), "another")
    assert made.failure is not None
    assert "no plugin 'nothing'" in made.failure
    assert (made.seconds, made.spread, made.ratio, made.stages) == ((), None, None, ())


@pytest.mark.parametrize(("method", "wanted"), [("masactrl", False), ("noise_blocks", True)])
def test_a_method_that_generates_is_known(small: Path, method: str, wanted: bool):
    assert generates(case_of(spec(small, "first", method))) is wanted
