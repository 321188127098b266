from pathlib import Path

import pytest
from pydantic import ValidationError

from scumble_bench.latency.records import Bench, Measured, Range


def test_a_range_is_of_percentiles_and_of_nothing_is_none():
    found = Range.of([float(n) for n in range(11)])
    assert found == Range(median=5, p10=1, p90=9)
    assert Range.of([]) is None


def test_a_report_is_read_as_it_was_written_and_another_format_is_refused(tmp_path: Path):
    cell = Measured(
        name="a", method="m", engine="e", precision="fp32", model="x", size=(8, 16), steps=2,
        edit="first", seconds=(1.0, 2.0), spread=Range.of([1.0, 2.0]),
    )  # fmt: skip
    made = Bench(provenance={"commit": "c"}, settings={}, baseline="a", cells=(cell,))
    path = tmp_path / "bench.json"
    path.write_text(made.model_dump_json())
    assert Bench.read(path) == made
    path.write_text(path.read_text().replace("scumble-bench-1", "scumble-bench-9"))
    with pytest.raises(ValidationError):
        Bench.read(path)
