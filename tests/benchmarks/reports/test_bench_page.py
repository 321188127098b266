import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from scumble_bench.latency.records import Bench, Measured
from scumble_bench.reports.bench_page import bench_page, summary
from scumble_bench.reports.wording import machine, seconds_text, times_text

PICTURES = {"ratios": ("shows <ratios>", b"light", b"dark")}


class Sections(HTMLParser):
    """Heading -> rows of cells below it, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self.texts: dict[str, list[str]] = {}
        self.tag = self.heading = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        if tag == "tr" and self.heading:
            self.rows[self.heading].append([])
        if tag == "td":
            self.rows[self.heading][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.tag = ""

    def handle_data(self, data: str) -> None:
        if self.tag == "h2":
            self.heading = data
            self.rows[data], self.texts[data] = [], []
        elif self.tag == "td":
            self.rows[self.heading][-1][-1] += data
        if self.heading:
            self.texts[self.heading].append(data)


@pytest.fixture(scope="module")
def page(bench: Bench) -> Sections:
    return Sections(bench_page(bench, PICTURES))


def table(page: Sections, heading: str) -> dict[str, list[str]]:
    """First cell -> the line."""
    return {row[0]: row for row in page.rows[heading] if row}


def test_ratios_come_first_then_failures_and_provenance(bench: Bench, page: Sections):
    assert list(page.rows) == [
        "Speed against the baseline", "Targets", "Failed, or does not count", "Provenance",
        f"Absolute times, on {machine(bench.provenance)}", "Where the time goes",
        "Against the limits of the device", "What time grows with", "Peak memory",
        "Until the first edit",
    ]  # fmt: skip


def test_the_numbers_are_those_of_the_data(bench: Bench, page: Sections):
    ratios = table(page, "Speed against the baseline")
    times = table(page, f"Absolute times, on {machine(bench.provenance)}")
    assert list(ratios) == list(times) == [cell.name for cell in bench.cells]
    for cell in bench.cells:
        if cell.ratio and cell.spread:
            wanted = (cell.ratio.median, cell.ratio.p10, cell.ratio.p90)
            assert ratios[cell.name][1:4] == [times_text(value) for value in wanted]
            wanted = (cell.spread.median, cell.spread.p10, cell.spread.p90)
            assert times[cell.name][1:4] == [seconds_text(value) for value in wanted]
        else:
            assert ratios[cell.name][1] == times[cell.name][1] == "no figure"


def test_a_failed_cell_is_there_with_its_cause(bench: Bench, page: Sections):
    failed = table(page, "Failed, or does not count")
    for cell in bench.cells:
        if cell.failure:
            assert failed[cell.name][1:] == ["failed", cell.failure]
    assert failed["variant plain, tensorrt fp16, rooms"][2] == "no GPU here"
    assert failed["loading tensorrt fp16, rooms"][2] == "no GPU <here>"
    assert failed["growth with edits of one picture, onnxruntime, rooms"][2] == (
        "the third edit ran out of memory"
    )


def test_a_peer_is_marked_and_its_disagreement_shown(page: Sections):
    failed = table(page, "Failed, or does not count")
    assert failed["a peer that draws something else"][1] == "disagrees"
    assert "0.31" in failed["a peer that draws something else"][2]
    ratios = table(page, "Speed against the baseline")
    assert ratios["a peer that draws something else"][4:6] == ["disagrees", "peer"]
    assert ratios["MasaCtrl, openvino bf16, first edit"][4:6] == ["counts", "Scumble"]
    assert "reference P2P, torch.compile fp32" not in failed


def test_the_host_s_share_is_told_where_it_was_measured(bench: Bench, page: Sections):
    last = [row[-1] for row in table(page, "Speed against the baseline").values()]
    shares = [cell.host_share for cell in bench.cells]
    assert last == ["" if share is None else f"{share.median:.1%}" for share in shares]
    assert "1.5%" in last


def test_absolute_times_stand_only_beside_the_machine(bench: Bench, page: Sections):
    """The headline has none, and each section that has one names the machine."""
    headline = " ".join(page.texts["Speed against the baseline"])
    assert not re.search(r"\d (ms|s|min)\b", headline)
    caption = f"time of one edit on {machine(bench.provenance)}"
    assert caption in page.texts[f"Absolute times, on {machine(bench.provenance)}"]


def test_provenance_is_told_whole(page: Sections):
    told = {row[0]: row[1] for row in page.rows["Provenance"] if row}
    assert told["commit"] == "0123456789ab"
    assert told["versions.torch"] == "2.13.0"
    assert told["weights_sha256.rooms"] == "ab" * 32
    assert told["rounds"] == "3", "a setting"


def test_notes_are_told_with_their_cell(page: Sections):
    note = "MasaCtrl, openvino bf16, first edit: composed from medians of single steps"
    assert note in page.texts["Speed against the baseline"]


def test_names_are_escaped_and_nothing_is_loaded(bench: Bench):
    html = bench_page(bench, PICTURES)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    assert html.count("<script") == 1
    assert not re.search(r"https?:", html)
    assert 'alt="shows &lt;ratios&gt;"' in html


def test_the_summary_counts(bench: Bench, a_cell: Callable[..., Measured]):
    told = " ".join(summary(bench))
    assert "17.8×: Prompt-to-Prompt, onnxruntime fp32, next edit" in told
    assert "Cells: 10, of which count: 6; failed: 2; peers that disagree with ours: 1" in told
    failed = bench.model_copy(update={"cells": (a_cell("x", None, failure="why"),)})
    assert "There is no ratio" in " ".join(summary(failed))


def test_where_nothing_failed_the_page_says_so(bench: Bench):
    fine = Bench(provenance={}, settings={}, baseline="x", cells=bench.cells[:2])
    page = Sections(bench_page(fine, {}))
    assert "Nothing failed, and every time counts." in page.texts["Failed, or does not count"]
    assert "What time grows with" not in page.rows
