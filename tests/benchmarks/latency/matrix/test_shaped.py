from dataclasses import replace
from pathlib import Path

import pytest

from scumble_bench.latency.matrix.judging import judged
from scumble_bench.latency.matrix.shaped import WHOLE_STEPS, measure_shapes, rows_in
from scumble_bench.latency.parts import Settings


def test_rows_are_read_from_the_kinds_of_steps():
    assert rows_in({"torch: 3 rows, mix+route": 4, "torch: 1 row, plain": 5}) == 17


@pytest.mark.thorough
def test_edits_are_composed_and_a_short_one_is_run(quick: Settings):
    cells = measure_shapes(replace(quick, engines=("torch", "onnxruntime"), pixels=32))
    ours = {cell.name: cell for cell in cells if cell.engine == "torch"}
    reference, first, after, whole = ours.values()
    assert (reference.peer, first.peer) == (True, False)
    assert all(cell.composed and not cell.failure for cell in (reference, first, after))
    assert all(cell.notes for cell in (reference, first, after))
    assert (reference.rows, first.rows, after.rows) == (18, 8, 4)
    assert reference.ratio is not None
    assert reference.ratio.median == 1
    assert (whole.composed, whole.steps) == (False, WHOLE_STEPS)
    assert whole.host_share is not None
    assert {"inversion", "host"} <= {stage.stage for stage in whole.stages}
    # An engine without its pack fails in each of its cells, and says so.
    others = [cell for cell in cells if cell.engine == "onnxruntime"]
    assert [cell.edit for cell in others] == ["first", "next", "first"]
    assert all(cell.failure and "pack" in cell.failure for cell in others)
    assert len({cell.name for cell in cells}) == len(cells)
    found = {(v.target, v.engine): v.verdict for v in judged((), shapes=cells)}
    assert found["shapes.first", "torch"] in ("met", "missed")
    assert found["shapes.first", "onnxruntime"] == "not measured"
    assert found["host.share", "torch"] in ("met", "missed")


def test_a_checkpoint_that_is_none_is_told(quick: Settings, tmp_path: Path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(Exception, match="no checkpoint"):
        measure_shapes(replace(quick, shape=tmp_path))
