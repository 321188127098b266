import io
from typing import Any

from rich.console import Console

from scumble_bench.latency.printing import failures, print_bench
from scumble_bench.latency.records import (
    Bench,
    Fit,
    Growth,
    Loading,
    Measured,
    Memory,
    Point,
    Range,
    TargetVerdict,
    VariantCost,
)


def spread(value: float) -> Range:
    return Range(median=value, p10=value / 2, p90=value * 2)


def cell(name: str, **more: Any) -> Measured:
    given: dict[str, Any] = {
        "method": "m", "engine": "e", "precision": "fp32", "model": "x", "size": (8, 8),
        "steps": 2, "edit": "first", **more,
    }  # fmt: skip
    return Measured(name=name, **given)


def report(**more: Any) -> Bench:
    return Bench(provenance={}, settings={}, baseline="slow", **more)


def shown(bench: Bench) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_bench(bench, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_cells_stand_with_ratio_share_and_memory_and_failures_below():
    text = shown(
        report(
            cells=(
                cell("slow", spread=spread(8), ratio=spread(1)),
                cell("quick[x]", spread=spread(2), ratio=spread(4.25), rows=9,
                     host_share=spread(0.03), memory=Memory(rss=512_000_000)),
                cell("broken", failure="[no] disk"),
            )
        )
    )  # fmt: skip
    (fast,) = (line for line in text.splitlines() if "quick[x]" in line)
    assert all(part in fast for part in ("4.25", "2.12 to 8.50", " 2 ", " 9 ", "3.0%", "512"))
    (slow,) = (line for line in text.splitlines() if "slow" in line)
    assert "baseline" in slow
    assert "1.00" not in slow
    assert "failed: broken: [no] disk" in text


def test_variants_growth_and_targets_are_tables():
    given: dict[str, Any] = {"engine": "e", "precision": "fp32", "model": "x", "size": (8, 8)}
    cost = VariantCost(
        **given, variant="routed", rows=3, flops=4.2e9, bytes=1e6, seconds=spread(0.5),
        fraction_of_peak=0.75, bandwidth=2e6, bound="compute",
    )  # fmt: skip
    grown = Growth(
        axis="rows", unit="rows", engine="e", model="x",
        points=(Point(x=1, seconds=spread(1)), Point(x=7, seconds=spread(2))),
        fit=Fit(constant=0.25, slope=0.125, r_squared=0.987),
    )  # fmt: skip
    verdict = TargetVerdict(
        target="a.b", says="as fast", engine="e", threshold="at least 4 times", value=3.21,
        verdict="not measured", why="nobody looked",
    )  # fmt: skip
    text = shown(report(cells=(), variants=(cost,), growth=(grown,), targets=(verdict,)))
    for part in ("routed", "4.20", "500.0", "75%", "compute", "0.125", "0.987", "3.21"):
        assert part in text
    assert "a.b, e: nobody looked" in text


def test_every_failure_is_a_line():
    given: dict[str, Any] = {"engine": "e", "model": "x", "failure": "why"}
    found = failures(
        report(
            cells=(cell("one"), cell("two", failure="why")),
            variants=(VariantCost(**given, precision="fp32", variant="v", rows=1, size=(8, 8)),),
            growth=(Growth(**given, axis="rows", unit="rows", points=()),),
            loading=(Loading(**given, precision="fp32"),),
        )
    )
    assert list(found) == [
        "two: why",
        "variant v, x, e: why",
        "growth with rows, x, e: why",
        "loading x, e: why",
    ]
