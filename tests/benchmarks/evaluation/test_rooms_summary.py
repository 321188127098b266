"""What the rooms benchmark comes to: means, failures, tables and points."""

from typing import Any

import pytest

from scumble_bench.evaluation.rooms_summary import points_of, reported, task_table
from scumble_bench.rooms.methods.rows import Row

COLOUR = Row("Masa", "colour", "masactrl", asked={"source": ""})


def done(success: float, psnr: float = 30.0, **fields: float) -> dict[str, Any]:
    values = {"success": success, "psnr": psnr, "vae_psnr": 35.0, "rows": 10.0, "gradients": 0.0}
    return {"key": "k", "values": {**values, **fields}, "engine": "torch"}


def test_a_row_has_means_intervals_and_values():
    row = reported(COLOUR, [done(1.0, 30.0), done(0.0, 20.0)], 2)
    assert (row["edits"], row["failed"], row["missing"]) == (2, 0, 0)
    assert row["mean"]["psnr"] == 25.0
    assert row["values"]["success"] == "1 0"
    assert row["asked"] == {"source": ""}


def test_failures_are_counted_with_their_causes():
    row = reported(COLOUR, [done(1.0), {"key": "x", "failure": "broke"}], 5)
    assert (row["edits"], row["failed"], row["missing"], row["failures"]) == (1, 1, 3, ["broke"])
    nothing = reported(COLOUR, [{"key": "x", "failure": "broke"}], 1)
    assert (nothing["edits"], nothing["mean"], nothing["failed"]) == (0, {}, 1)


def test_the_table_has_a_column_for_what_any_row_has():
    rows = [
        reported(COLOUR, [done(1.0), {"key": "x", "failure": "broke"}], 2),
        reported(Row("Diff", "colour", "diffedit"), [done(0.0, mask_iou=0.5)], 1),
        reported(Row("else", "pose", "masactrl"), [done(0.0)], 1),
    ]
    lines = task_table(rows, "colour")
    assert lines == [
        ["method", "edits", "success", "mask IoU", "PSNR", "VAE", "rows", "gradients"],
        ["Masa", "1 (1 failed)", "100 %", "–", "30.00", "35.00", "10", "0"],
        ["Diff", "1", "0 %", "0.50", "30.00", "35.00", "10", "0"],
    ]


def test_only_whole_rows_are_points():
    rows = [
        reported(COLOUR, [done(1.0), done(0.0)], 2),
        reported(Row("part", "colour", "masactrl"), [done(1.0)], 2),
        reported(Row("ill", "colour", "masactrl"), [done(1.0), {"key": "x", "failure": "b"}], 2),
    ]
    (point,) = points_of(rows)
    assert (point.label, point.task, point.method) == ("Masa", "colour", "masactrl")
    assert (point.success, point.psnr, point.ceiling, point.pictures) == (0.5, 30.0, 35.0, 2)
    assert (point.rows, point.engine) == (10.0, "torch")


@pytest.mark.parametrize(
    ("row", "inversion"),
    [
        (Row("a", "colour", "masactrl", inversion="ddim"), "ddim"),
        (Row("a", "colour", "sdedit"), None),
        (Row("a", "layout", "initial_noise"), None),
        (Row("a", "layout", None), None),
    ],
)
def test_a_point_tells_its_inversion(row: Row, inversion: str | None):
    (point,) = points_of([reported(row, [done(1.0)], 1)])
    assert point.inversion == inversion
    assert point.method == (row.method or "none")
