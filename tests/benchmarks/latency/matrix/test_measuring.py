from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import OptionError
from scumble_bench.latency.matrix import measuring
from scumble_bench.latency.matrix.axes import Axes, CellSpec
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.matrix.fresh import FreshError, FreshRun
from scumble_bench.latency.matrix.measuring import Matrix, chosen_baseline, measure_matrix
from scumble_bench.latency.records import Memory

NAMES = ["plain, x", "reference mag_edit, x", "reference prompt_to_prompt, torch fp32, x", "own"]


def test_the_reference_way_is_the_baseline_unless_another_is_named():
    assert chosen_baseline("", NAMES) == NAMES[2]
    assert chosen_baseline("", NAMES[:2]) == NAMES[1]
    assert chosen_baseline("", ["a", "b"]) == "a"
    assert chosen_baseline("plain", NAMES) == NAMES[0]
    assert chosen_baseline("own", [*NAMES, "own too"]) == "own"
    with pytest.raises(OptionError, match="is 2 cells"):
        chosen_baseline("reference", NAMES)
    with pytest.raises(OptionError, match="is 0 cells"):
        chosen_baseline("nothing", NAMES)
    with pytest.raises(OptionError, match="no cell"):
        chosen_baseline("", [])


def specs(model: Path, *methods: str, told: Sequence[Any] = ("target",)) -> list[CellSpec]:
    axes = Axes(
        methods=methods, engines=("torch",), models=(str(model),), steps=(2,), conventions=told
    )
    return axes.cells({str(model): (32, 32)})


def test_cells_are_timed_told_and_given_their_memory(small: Path, monkeypatch: pytest.MonkeyPatch):
    fresh: list[str] = []

    def run_fresh(spec: CellSpec, **more: Any) -> FreshRun:
        fresh.append(spec.method)
        return FreshRun(1.0, Memory(rss=100), Memory(rss=200))

    monkeypatch.setattr(measuring, "run_fresh", run_fresh)
    told: dict[str, int] = {}

    def begin(what: str, turns: int) -> Callable[[str], object]:
        told[what] = turns

        def tell(name: str) -> None:
            told[what] -= 1

        return tell

    with Editors("cpu", 1) as editors:
        matrix = Matrix(specs(small, "prompt_to_prompt", "nothing"), rounds=1, warmup=0)
        found, baseline = measure_matrix(matrix, editors, begin)
    assert told == {"edits": 0, "memory": 0}
    first, after, *failed = found
    assert baseline == first.name
    assert (first.memory, after.memory) == (Memory(rss=100), Memory(rss=200))
    # One process for both edits, and none for a cell that failed.
    assert fresh == ["prompt_to_prompt"]
    assert [cell.edit for cell in failed] == ["first", "next"]
    assert all(cell.failure and "nothing" in cell.failure for cell in failed)


def test_a_failed_run_for_memory_is_a_note(small: Path, monkeypatch: pytest.MonkeyPatch):
    def run_fresh(spec: CellSpec, **more: Any) -> FreshRun:
        raise FreshError("killed")

    monkeypatch.setattr(measuring, "run_fresh", run_fresh)
    with Editors("cpu", 1) as editors:
        matrix = Matrix(specs(small, "prompt_to_prompt")[:1], rounds=1, warmup=0)
        (made,), _ = measure_matrix(matrix, editors)
    assert (made.failure, made.memory) == (None, None)
    assert any("killed" in note for note in made.notes)


def test_a_generated_picture_has_no_next_edit(small: Path):
    with Editors("cpu", 1) as editors:
        matrix = Matrix(specs(small, "noise_blocks"), rounds=1, warmup=0, memory=False)
        found, _ = measure_matrix(matrix, editors)
    assert [cell.edit for cell in found] == ["first"]


@pytest.mark.parametrize("method", ["noise_blocks", "sdedit", "nothing"])
def test_a_convention_is_of_an_inversion(small: Path, method: str):
    """Nothing is inverted where a picture is generated, or by a method that brings its own way."""
    with Editors("cpu", 1) as editors:
        asked = [s for s in specs(small, method, told=("target", "current")) if s.edit == "first"]
        assert len(asked) == 2
        matrix = Matrix(asked, rounds=1, warmup=0, memory=False)
        found, _ = measure_matrix(matrix, editors)
    assert [cell.convention for cell in found] == ["target"]
