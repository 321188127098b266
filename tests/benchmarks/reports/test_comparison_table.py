import io

import pytest
from rich.console import Console

from scumble_bench.latency.records import Bench
from scumble_bench.reports import compare
from scumble_bench.reports.comparison import Comparison
from scumble_bench.reports.comparison_table import comparison_markdown, print_comparison


@pytest.fixture
def comparison(bench: Bench) -> Comparison:
    cells = [
        cell.model_copy(update={"ratio": cell.ratio.model_copy(
            update={"median": 16.0, "p10": 15.0, "p90": 17.0})})
        if cell.name.endswith("first edit") and cell.ratio and not cell.composed else cell
        for cell in bench.cells
    ]  # fmt: skip
    renamed = cells[-1].model_copy(update={"name": "new [bold]one[/bold] | `x`"})
    second = bench.model_copy(
        update={
            "cells": (*cells[:-1], renamed),
            "provenance": {**bench.provenance, "threads": 2},
        }
    )
    return compare(bench, second)


def printed(comparison: Comparison) -> str:
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=400, color_system=None))
    return stream.getvalue()


def test_what_became_faster_is_printed_with_what_differs(comparison: Comparison):
    lines = printed(comparison).splitlines()
    (line,) = [line for line in lines if "Prompt-to-Prompt, onnxruntime fp32, first" in line]
    assert [cell.strip() for cell in line.split("│")[2:6]] == [
        "2.00×", "faster", "", "not compared",
    ]  # fmt: skip
    text = "\n".join(lines)
    assert "Seconds are not compared, for these differ: threads." in text
    assert "Only in the first: Plug-and-Play, openvino bf16." in text
    assert "threads: 4 and 2." in text


def test_brackets_in_a_name_are_no_markup(comparison: Comparison):
    assert "Only in the second: new [bold]one[/bold] | `x`." in printed(comparison)


def test_markdown_has_the_same_and_no_name_breaks_it(comparison: Comparison):
    text = comparison_markdown(comparison)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(comparison.changes)
    assert {row.replace("\\|", "").count("|") for row in rows} == {7}
    assert "| 2.00× | faster |  | not compared |" in text
    assert "&lt;script>" in text
    assert "<script>" not in text
    assert "- Only in the second: new [bold]one[/bold] \\| \\`x\\`." in text


def test_different_baselines_are_told(bench: Bench):
    other = bench.model_copy(update={"baseline": "another"})
    assert "The baselines differ: reference P2P, torch fp32 and another." in comparison_markdown(
        compare(bench, other)
    )
