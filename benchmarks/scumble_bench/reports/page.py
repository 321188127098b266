"""The parts of a page that needs nothing but itself: text, tables that sort, pictures within.

Whatever comes from data passes `html.escape`. The page forbids itself to load anything, and to run
any script but its own, which is named by its hash.
"""

import base64
import hashlib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Cell", "Shown", "document", "figure", "listed", "paragraph", "section", "table"]

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1c2024; --quiet: #5b6470; --line: #d9dde3;
  --ours: #0072b2; --alarm: #a33b00; --stripe: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ground: #15181c; --ink: #e6e8eb; --quiet: #9aa3ad;
  --line: #333a42; --ours: #5ab4f0; --alarm: #ff8a47; --stripe: #1b1f24; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground);
  max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
p, li { max-width: 60rem; } .quiet, caption { color: var(--quiet); }
.alarm { color: var(--alarm); font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { white-space: nowrap; border-bottom-width: 2px; } tbody tr:nth-child(even) {
  background: var(--stripe); }
.number { text-align: right; white-space: nowrap; }
th[data-sorts] { cursor: pointer; } th[aria-sort=ascending]::after { content: " ▲"; }
th[aria-sort=descending]::after { content: " ▼"; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; }
@media print { tbody tr { break-inside: avoid; } }
"""

SCRIPT = """
for (const head of document.querySelectorAll("table.sorts th")) {
  head.dataset.sorts = ""; head.tabIndex = 0;
  const sort = () => {
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].dataset.value ?? "";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    });
    body.append(...rows);
  };
  head.addEventListener("click", sort);
  head.addEventListener("keydown", event => { if (event.key === "Enter") sort(); });
}
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: as it is read.
        value: that the column is sorted by; None comes last.
        alarm: whether it stands out.
    """

    text: str
    value: float | str | None = None
    alarm: bool = False


Shown: TypeAlias = Cell | str
"""A text alone is sorted by itself."""


def document(title: str, body: Sequence[str]) -> str:
    """Return a whole page.

    Args:
        title: as text.
        body: as HTML.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{html.escape(title)}</h1>",
            *body,
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        )
    )


def section(heading: str, *parts: str) -> str:
    """Return parts under a heading; the heading is text, the parts are HTML."""
    return "\n".join((f"<section><h2>{html.escape(heading)}</h2>", *parts, "</section>"))


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of a text; its kind is `quiet`, `alarm` or none."""
    given = f' class="{kind}"' if kind else ""
    return f"<p{given}>{html.escape(text)}</p>"


def listed(texts: Sequence[str]) -> str:
    """Return texts as a list; nothing where there are none."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f"<ul>{items}</ul>" if texts else ""


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[Shown]]) -> str:
    """Return a table that a click on a heading sorts; numbers stand to the right."""
    heads = "".join(f'<th scope="col">{html.escape(heading)}</th>' for heading in headings)
    lines = ["".join(_cell(cell) for cell in row) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return (
        f'<div class="wide"><table class="sorts"><caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def figure(told: str, light: bytes, dark: bytes) -> str:
    """Return a picture within the page, one for each ground.

    Args:
        told: what it shows, for who cannot see it.
        light: PNG for light ground.
        dark: PNG for dark ground.
    """
    return (
        '<figure><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{_inlined(dark)}"><img alt="{html.escape(told)}" src="{_inlined(light)}">'
        "</picture></figure>"
    )


def _inlined(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _cell(cell: Shown) -> str:
    if isinstance(cell, str):
        cell = Cell(cell, cell)
    value = "" if cell.value is None else repr(cell.value)
    kinds: list[str] = []
    if isinstance(cell.value, str):
        value = cell.value
    elif cell.value is not None:
        kinds.append("number")
    if cell.alarm:
        kinds.append("alarm")
    given = f' class="{" ".join(kinds)}"' if kinds else ""
    # Without a value there is no attribute: such cells are sorted to the end.
    sorts = f' data-value="{html.escape(value)}"' if value else ""
    return f"<td{given}{sorts}>{html.escape(cell.text)}</td>"
