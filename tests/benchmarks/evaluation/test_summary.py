"""Means leave out what is not defined, count it, and never count a failure."""

from typing import Any

from scumble_bench.evaluation.methods import Method
from scumble_bench.evaluation.summary import OVERALL, rows_by_method, summarised
from scumble_bench.work.pieces import Piece

METHOD = Method("a", "masactrl")


def row(kind: str, psnr: float | str | None, **fields: Any) -> dict[str, Any]:
    return {
        "key": f"{kind}{psnr}",
        "kind": kind,
        "metrics": {"psnr": psnr, "mse": 1.0},
        "rows": 10,
        "gradients": 0,
        "engine": "torch",
        **fields,
    }


def test_what_is_not_defined_is_left_out_and_counted():
    rows = [row("0", 10.0), row("0", 20.0), row("9", None)]
    found = summarised(METHOD, rows, 3, ["psnr", "mse"])
    assert found["means"][OVERALL]["psnr"] == {"mean": 15.0, "pictures": 2, "undefined": 1}
    assert found["means"][OVERALL]["mse"] == {"mean": 1.0, "pictures": 3, "undefined": 0}
    assert found["means"]["random"]["psnr"]["mean"] == 15.0
    assert found["means"]["change style"]["psnr"] == {"mean": None, "pictures": 0, "undefined": 1}
    assert list(found["means"]) == [OVERALL, "random", "change style"]


def test_a_failure_is_in_no_mean():
    rows = [row("0", 10.0, rows=4), {"key": "x", "failure": "broke"}]
    found = summarised(METHOD, rows, 5, ["psnr"])
    assert (found["pictures"], found["failed"], found["missing"]) == (1, 1, 3)
    assert found["failures"] == ["broke"]
    assert found["means"][OVERALL]["psnr"]["mean"] == 10.0
    assert (found["rows"], found["engines"]) == (4.0, ["torch"])


def test_an_exact_copy_makes_the_mean_infinite():
    found = summarised(METHOD, [row("0", 10.0), row("0", "inf")], 2, ["psnr"])
    assert found["means"][OVERALL]["psnr"]["mean"] == "inf"


def test_nothing_done_is_no_error():
    found = summarised(METHOD, [], 2, ["psnr"])
    assert (found["pictures"], found["missing"], found["rows"]) == (0, 2, None)
    assert found["means"] == {
        OVERALL: {"pictures": 0, "psnr": {"mean": None, "pictures": 0, "undefined": 0}}
    }


def test_rows_go_to_their_methods():
    other = Method("b", "sdedit")
    pieces = [
        Piece(f"{method.label}{n}", {"method": method.as_json()})
        for method in (METHOD, other)
        for n in range(2)
    ]
    rows: list[dict[str, Any]] = [{"key": "b1"}, {"key": "a0"}]
    found = rows_by_method([METHOD, other], pieces, rows)
    assert found == {"a": [{"key": "a0"}], "b": [{"key": "b1"}]}
