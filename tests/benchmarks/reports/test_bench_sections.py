import html
import re

from scumble_bench.latency.records import Bench
from scumble_bench.reports.bench_sections import (
    growths,
    limits,
    loadings,
    memories,
    stage_table,
    target_table,
)  # fmt: skip


def cells(parts: list[str]) -> list[list[str]]:
    """The lines of all tables, as text."""
    lines = re.findall(r"<tr>(<td.*?)</tr>", "".join(parts))
    return [
        [html.unescape(text) for text in re.findall(r"<td[^>]*>(.*?)</td>", line)] for line in lines
    ]


def test_stages_have_their_share(bench: Bench):
    lines = cells(stage_table(bench))
    assert len(lines) == sum(len(cell.stages) for cell in bench.cells)
    (host,) = [line for line in lines if line[1] == "host" and "next" in line[0]]
    assert host[2:] == ["22.5 ms", "20.7 ms", "26.1 ms", "5.0%", "20", "60"]


def test_targets_tell_their_verdict_and_why_there_is_none(bench: Bench):
    met, unmeasured = cells(target_table(bench))
    assert met[3:] == [">= 4x", "8.00", "7.36", "9.28", "met", ""]
    alarms = re.findall(r'class="alarm"[^>]*>([^<]*)<', "".join(target_table(bench)))
    assert alarms == ["not measured"]
    assert unmeasured[3:] == [">= 4x", "", "", "", "not measured", "no GPU & no <time>"]


def test_limits_are_told_with_their_units(bench: Bench):
    lines = cells(limits(bench))
    assert lines[0] == [
        "Example CPU", "onnxruntime", "fp32", "400 GFLOP/s", "1024×1024×1024", "20.0 GB/s",
    ]  # fmt: skip
    plain = lines[2]
    assert plain[:3] == ["plain", "3", "128×128"]
    assert plain[6:12] == ["3.00 GFLOP", "0.0600 GB", "17.9 ms", "42.0%", "3.36 GB/s", "compute"]
    assert lines[-1][-1] == "no GPU here"


def test_growths_tell_their_line_or_why_there_is_none(bench: Bench):
    lines = cells(growths(bench))
    assert lines[0][3:8] == ["5", "2.00 ms", "3.50 ms", "row", "0.998"]
    assert lines[-1][3:] == ["2", "", "", "edit", "", "the third edit ran out of memory"]


def test_memory_of_the_device_may_be_missing(bench: Bench):
    lines = cells(memories(bench))
    assert [line[1:] for line in lines] == [["700 MiB", "900 MiB"], ["720 MiB", ""]]


def test_loading_tells_what_failed(bench: Bench):
    lines = cells(loadings(bench))
    assert lines[0] == ["onnxruntime", "rooms", "fp32", "800 ms", "31.0 s", "", ""]
    assert lines[1][-1] == "no GPU <here>"


def test_sections_of_nothing_are_empty():
    empty = Bench(provenance={}, settings={}, baseline="x", cells=())
    sections = (target_table, stage_table, limits, growths, memories, loadings)
    assert [section(empty) for section in sections] == [[]] * 6
