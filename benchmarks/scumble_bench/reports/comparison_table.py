"""A comparison as it is printed, and as Markdown."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scumble_bench.reports.comparison import Change, Comparison
from scumble_bench.reports.wording import times_text

__all__ = ["comparison_markdown", "print_comparison"]

STYLES = {"faster": "green", "slower": "red", "within the spread": "", "not compared": "dim"}
HEADINGS = ("cell", "by ratio", "verdict", "by seconds", "verdict", "why not")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print what became faster or slower, what is in one report only, and what differs."""
    table = Table(title="The second report against the first; above 1× the second is faster")
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for change in comparison.changes:
        cells = _cells(change)
        styles = ("", "", STYLES[change.verdict], "", STYLES[change.seconds_verdict], "")
        # As `Text`, so that brackets in a name are no markup.
        table.add_row(*(Text(cell, style) for cell, style in zip(cells, styles, strict=True)))
    console.print(table)
    for line in _sentences(comparison):
        console.print(Text(line))


def comparison_markdown(comparison: Comparison) -> str:
    """Return the same as Markdown."""
    lines = [
        "The second report against the first; above 1× the second is faster.",
        "",
        _line(HEADINGS),
        f"|{'---|' * len(HEADINGS)}",
        *(_line(_cells(change)) for change in comparison.changes),
        "",
        *(f"- {_escaped(line)}" for line in _sentences(comparison)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _cells(change: Change) -> tuple[str, ...]:
    return (
        change.name,
        "" if change.ratio is None else times_text(change.ratio),
        change.verdict,
        "" if change.seconds is None else times_text(change.seconds),
        change.seconds_verdict,
        change.why,
    )


def _sentences(comparison: Comparison) -> list[str]:
    hinders = [one.what for one in comparison.differences if one.hinders]
    found = [f"Ratios are to the baseline: {comparison.baselines[0]}."]
    if len(set(comparison.baselines)) > 1:
        found = [f"The baselines differ: {' and '.join(comparison.baselines)}."]
    if hinders:
        found.append(f"Seconds are not compared, for these differ: {', '.join(hinders)}.")
    found += [f"Only in the first: {name}." for name in comparison.only_first]
    found += [f"Only in the second: {name}." for name in comparison.only_second]
    found += [
        f"{one.what}: {one.first or 'not told'} and {one.second or 'not told'}."
        for one in comparison.differences
    ]
    return found


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Return a text that is no markup: neither a border of the table nor HTML."""
    line = " ".join(text.split())
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("`", "\\`")):
        line = line.replace(sign, instead)
    return line
