"""The tables: scaled, beside the published rows, with what is missing told."""

import csv
import io
from typing import Any

import pytest

from scumble_bench.evaluation.methods import METHODS, Method, Named, crossed
from scumble_bench.evaluation.summary import summarised
from scumble_bench.evaluation.tables import by_type, csv_of, markdown, overall

METRICS = ["structure", "psnr", "mse"]


def rows() -> list[dict[str, Any]]:
    def one(kind: str, structure: float, psnr: float | None) -> dict[str, Any]:
        return {
            "key": f"k{kind}",
            "entry": kind,
            "kind": kind,
            "picture": f"{kind}.png",
            "rows": 12,
            "gradients": 0,
            "engine": "torch",
            "metrics": {"structure": structure, "psnr": psnr, "mse": 0.01},
        }

    return [one("1", 0.02, 30.0), one("9", 0.04, None)]


@pytest.fixture
def summary() -> dict[str, Any]:
    (p2p,) = crossed([METHODS["pie-p2p"]], [Named("direct", "direct")])
    other = Method("mine", "masactrl")
    failed = [{"key": "x", "failure": "broke, badly"}]
    return {
        "metrics": METRICS,
        "rows": [
            summarised(p2p, rows(), 2, METRICS),
            summarised(other, failed, 2, METRICS),
        ],
    }


def test_the_published_row_of_a_preset_stands_below(summary: dict[str, Any]):
    lines = overall(summary)
    heads = ["Structure x1e3", "PSNR", "MSE x1e4"]
    assert lines == [
        ["method", "pictures", *heads, "rows", "gradients"],
        ["pie-p2p, direct", "2", "30.00", "30.00 (1 n/a)", "100.00", "12", "0"],
        ["mine", "0 (1 failed) (1 missing)", "–", "–", "–", "–", "–"],
        ["P2P, Direct (published)", "700", "11.65", "27.22", "32.86", "–", "–"],
    ]


def test_types_have_a_line_each(summary: dict[str, Any]):
    lines = by_type(summary, "pie-p2p, direct")
    assert [line[:3] for line in lines[1:]] == [
        ["all", "2", "30.00"],
        ["change object", "1", "20.00"],
        ["change style", "1", "40.00"],
    ]
    assert lines[3][3] == "– (1 n/a)"


def test_markdown():
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"


def test_csv_has_a_line_a_picture():
    failed = {"key": "x", "failure": 'broke, "badly"'}
    text = csv_of({"mine": [*rows(), failed]}, METRICS)
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [line["key"] for line in lines] == ["k1", "k9", "x"]
    assert [line["psnr"] for line in lines] == ["30.0", "nan", ""]
    assert [line["structure"] for line in lines] == ["0.02", "0.04", ""], "not scaled"
    assert lines[2]["failure"] == 'broke, "badly"'
    assert {line["method"] for line in lines} == {"mine"}
