"""Two bench reports against each other: what became faster, what slower, what cannot be said."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from scumble_bench.latency.records import Bench, Measured, Range
from scumble_bench.reports.facts import flattened
from scumble_bench.reports.wording import cause, standing

__all__ = ["Change", "Comparison", "Difference", "Verdict", "compare"]

Verdict: TypeAlias = Literal["faster", "slower", "within the spread", "not compared"]
FREE = ("date", "commit", "load_average", "versions.scumble", "weights_sha256")
"""Provenance that may differ between two times that are compared: what is compared is Scumble."""
SAME = ("method", "peer", "engine", "precision", "model", "size", "steps", "edit", "composed")
"""What two cells of one name must have in common."""


@dataclass(frozen=True, slots=True)
class Change:
    """A cell of both reports.

    Attributes:
        name: of the cell.
        ratio: the second's median ratio to its baseline over the first's; above 1 it is faster.
        verdict: by the ratios: `faster` or `slower` where the two spreads from the 10th to the 90th
            percentile do not touch.
        seconds: the first's median seconds over the second's; above 1 the second is faster. None
            where times of the two reports cannot be compared.
        seconds_verdict: by the seconds, likewise.
        why: nothing was compared, or empty.
    """

    name: str
    ratio: float | None
    verdict: Verdict
    seconds: float | None
    seconds_verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact of provenance or settings that is not the same in both.

    Attributes:
        what: its dotted name.
        first: as text; empty where it is missing.
        second: likewise.
        hinders: whether seconds cannot be compared for it.
    """

    what: str
    first: str
    second: str
    hinders: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two reports say together.

    Attributes:
        baselines: of the first and of the second.
        changes: cells of both, in the order of the first.
        only_first: names of cells that the second has not.
        only_second: names of cells that the first has not.
        differences: of provenance and settings.
    """

    baselines: tuple[str, str]
    changes: tuple[Change, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def times_comparable(self) -> bool:
        """Whether machine, threads and versions are the same, so that seconds can be compared."""
        return not any(one.hinders for one in self.differences)


def compare(first: Bench, second: Bench) -> Comparison:
    """Return the second report against the first.

    Ratios to the baseline are compared wherever the baseline is the same cell, for they hold across
    machines; seconds only where machine, threads and versions are the same.
    """
    differences = tuple(_differences(first, second))
    timed = not any(one.hinders for one in differences)
    one, two = ({cell.name: cell for cell in bench.cells} for bench in (first, second))
    return Comparison(
        baselines=(first.baseline, second.baseline),
        changes=tuple(
            _change(cell, two[name], _bases(first, second), timed)
            for name, cell in one.items()
            if name in two
        ),
        only_first=tuple(name for name in one if name not in two),
        only_second=tuple(name for name in two if name not in one),
        differences=differences,
    )


def _bases(first: Bench, second: Bench) -> str:
    """Return why ratios of two reports have nothing in common; empty where they have."""
    if first.baseline != second.baseline:
        return f"the baselines differ: {first.baseline} and {second.baseline}"
    found = [
        [cell for cell in bench.cells if cell.name == bench.baseline] for bench in (first, second)
    ]
    if found[0] and found[1]:
        other = _unlike(found[0][0], found[1][0])
        return f"the baselines differ: {other}" if other else ""
    return ""


def _change(first: Measured, second: Measured, bases: str, timed: bool) -> Change:
    none: Verdict = "not compared"
    for which, cell in (("the first", first), ("the second", second)):
        if standing(cell) != "counts":
            why = f"{which} {standing(cell)}: {cause(cell)}"
            return Change(first.name, None, none, None, none, why)
    unlike = _unlike(first, second)
    if unlike:
        return Change(first.name, None, none, None, none, unlike)
    ratio, verdict, why = None, none, bases
    if not bases and first.ratio and second.ratio:
        ratio = second.ratio.median / first.ratio.median
        verdict = _verdict(first.ratio, second.ratio)
    elif not bases:
        why = "one of them has no ratio"
    seconds, by_seconds = None, none
    if timed and first.spread and second.spread:
        seconds = first.spread.median / second.spread.median
        # The other way round: fewer seconds are faster.
        by_seconds = _verdict(second.spread, first.spread)
    return Change(first.name, ratio, verdict, seconds, by_seconds, why)


def _verdict(low: Range, high: Range) -> Verdict:
    """Return `faster` where the second range lies above the first, and the other way round."""
    if high.p10 > low.p90:
        return "faster"
    return "slower" if high.p90 < low.p10 else "within the spread"


def _unlike(first: Measured, second: Measured) -> str:
    """Return in what two cells of one name differ; empty where they do not."""
    found = [
        f"{name} {getattr(first, name)} and {getattr(second, name)}"
        for name in SAME
        if getattr(first, name) != getattr(second, name)
    ]
    return "; ".join(found)


def _differences(first: Bench, second: Bench) -> Iterator[Difference]:
    for above, one, two, hinders in (
        ("", first.provenance, second.provenance, True),
        ("settings.", first.settings, second.settings, False),
    ):
        had, has = flattened(one, above), flattened(two, above)
        for name in dict.fromkeys((*had, *has)):
            before, after = had.get(name, ""), has.get(name, "")
            if before != after:
                free = any(name == of or name.startswith(f"{of}.") for of in FREE)
                yield Difference(name, before, after, hinders and not free)
