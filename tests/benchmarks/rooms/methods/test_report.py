"""The file holds what was measured, rows that are done are not measured again, claims are told."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scumble_bench.rooms.methods import report
from scumble_bench.rooms.methods.claims import Claim
from scumble_bench.rooms.methods.report import (
    Unfinished,
    claims_of,
    markdown_of,
    print_report,
    row_report,
)

MORE = Claim("one is more", "colour", "one", "two", "psnr")


def row(name: str, *psnr: float) -> dict[str, Any]:
    values = [{"success": float(value > 20), "psnr": value, "rows": 80.0} for value in psnr]
    return row_report({"task": "colour", "name": name}, values, {"engine": "quick"})


def test_a_row_has_means_intervals_and_every_value():
    found = row("one", 20.0, 22.5, 30.12345)
    assert found["edits"] == 3
    assert found["mean"] == {"success": 0.6667, "psnr": 24.2078, "rows": 80.0}
    assert found["interval"]["rows"] == [80.0, 80.0]
    low, high = found["interval"]["psnr"]
    assert 20 <= low < 24.2 < high <= 30.1235
    assert found["values"] == {"success": "0 1 1", "psnr": "20 22.5 30.1234", "rows": "80 80 80"}
    assert (found["task"], found["name"], found["engine"]) == ("colour", "one", "quick")


def test_claims_are_judged_by_the_values_of_the_file(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "CLAIMS", (MORE,))
    rows = [row("one", 25.0, 26.0, 27.0), row("two", 20.0, 22.0, 21.0)]
    (held,) = claims_of(rows)
    assert (held["verdict"], held["measured"]) == ("held", [26.0, 21.0])
    rows = [row("one", 20.0, 22.0, 21.0), row("two", 25.0, 26.0, 27.0)]
    (failed,) = claims_of(rows)
    assert (failed["verdict"], failed["difference"]) == ("contrary", -5.0)
    assert claims_of(rows[:1]) == [], "a row is missing"


def test_rows_that_are_done_are_kept_under_their_key(tmp_path: Path):
    unfinished = Unfinished(tmp_path / "table.part.json", {"steps": 20, "commit": "a"})
    assert unfinished.rows() == []
    unfinished.keep([row("one", 20.0)])
    assert unfinished.rows() == [row("one", 20.0)]
    other = Unfinished(unfinished.path, {"steps": 20, "commit": "b"})
    assert other.rows() == [], "another commit may have made other pictures"
    unfinished.remove()
    assert not unfinished.path.exists()
    unfinished.remove()


def test_what_is_printed_tells_failures_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report, "CLAIMS", (MORE,))
    rows = [row("one", 20.0, 22.0, 21.0), row("two", 25.0, 26.0, 27.0)]
    shown = StringIO()
    whole = {"steps": 20, "rows": rows, "claims": claims_of(rows)}
    print_report(whole, Console(width=200, file=shown))
    lines = shown.getvalue().splitlines()
    (claim,) = (line for line in lines if "one is more" in line)
    cells = [cell.strip() for cell in claim.strip("│").split("│")]
    assert cells[1:5] == ["PSNR", "21.00", "26.00", "-5.00"]
    assert cells[-1] == "contrary"
    assert any("colour: 3 edits, 20 steps" in line for line in lines)
    (first,) = (line for line in lines if line.startswith("│ one ") and "67 %" in line)
    cells = [cell.strip() for cell in first.strip("│").split("│")]
    assert cells == ["one", "67 %", "21.00", "80"]
    assert json.loads(json.dumps(whole)) == whole


def test_the_guide_is_told_all_of_it_and_what_did_not_hold_stands_out(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(report, "CLAIMS", (MORE,))
    rows = [row("one", 20.0, 22.0, 21.0), row("two", 25.0, 26.0, 27.0)]
    told = markdown_of({"steps": 20, "rows": rows, "claims": claims_of(rows)})
    assert told.splitlines() == [
        "| `colour` | success | PSNR | rows |",
        "|---|---|---|---|",
        "| one | 67 % | 21.00 | 80 |",
        "| two | 100 % | 26.00 | 80 |",
        "",
        "| claim | measure | measured | difference, 95 % | verdict |",
        "|---|---|---|---|---|",
        "| one is more | PSNR | 21.00, 26.00 | -5.00 (-6.00 to -4.00) | **contrary** |",
    ]


def test_the_guide_tells_what_was_measured():
    """Else: python -m scumble_bench.rooms.methods --show."""
    root = Path(__file__).resolve().parents[4]
    measured = json.loads((root / "benchmarks/results/methods.json").read_text(encoding="utf-8"))
    guide = (root / "docs/guides/the-demo-world.md").read_text(encoding="utf-8")
    assert markdown_of(measured) in guide
    assert {row["edits"] for row in measured["rows"]} == {100}
