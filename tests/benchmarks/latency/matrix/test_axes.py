from dataclasses import replace
from pathlib import Path

from scumble.models import find_checkpoint
from scumble_bench.latency.matrix.axes import Axes, CellSpec, native_pixels


def test_every_combination_is_a_cell_once_and_has_its_own_name():
    axes = Axes(
        methods=("a", "b", "a"),
        engines=("e", "f"),
        precisions=("fp32", "bf16"),
        models=("m", "n"),
        sizes=(None, (16, 8)),
        steps=(2, 3),
    )
    cells = axes.cells({"m": (32, 32), "n": (64, 64)})
    # Two conventions of a first edit, and one next edit.
    assert len(cells) == 2**6 * 3
    assert len({cell.name for cell in cells}) == len(cells)
    assert {(c.model, c.size) for c in cells} == {
        ("m", (32, 32)), ("n", (64, 64)), ("m", (16, 8)), ("n", (16, 8))
    }  # fmt: skip


def test_a_name_says_everything():
    spec = CellSpec("prompt_to_prompt", "torch", "fp32", "rooms", (128, 64), 50, "next")
    assert spec.name == "prompt_to_prompt, torch fp32, rooms 128x64, 50 steps, next edit"
    told = replace(spec, edit="first", convention="current")
    assert told.name.endswith("50 steps, first edit, convention current")
    assert told.title("peer") == spec.title("peer")
    assert spec.title("peer") == "peer, torch fp32, rooms 128x64, 50 steps"


def test_only_the_default_schedule_is_shortened():
    assert Axes().shortened(10).steps == (10,)
    assert Axes(steps=(7,)).shortened(10).steps == (7,)


def test_the_native_size_is_read_from_either_form(small: Path, pack: Path):
    assert native_pixels(find_checkpoint(small)) == (32, 32)
    assert native_pixels(find_checkpoint(pack)) == (32, 32)
