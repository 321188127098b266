"""Figures as a reader wants them, and what has to be known of a cell before its time counts."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from scumble_bench.latency.records import Bench, Measured, Range

__all__ = [
    "Standing", "bytes_text", "cause", "digits", "labels", "machine", "range_text", "seconds_text",
    "standing", "times_text",
]  # fmt: skip

Standing: TypeAlias = Literal["counts", "disagrees", "unchecked", "failed"]
"""`disagrees`: a peer whose result is not ours; `unchecked`: one that was not compared."""


def standing(cell: Measured) -> Standing:
    """Return whether a cell's time counts, or why it does not."""
    if cell.failure is not None or cell.spread is None:
        return "failed"
    if not cell.peer:
        return "counts"
    if cell.agreement is None or cell.tolerance is None:
        return "unchecked"
    # Written so that an agreement which is no number disagrees.
    return "counts" if cell.agreement <= cell.tolerance else "disagrees"


def cause(cell: Measured) -> str:
    """Return why a cell has no figure, or its figure does not count; empty where it does."""
    how = standing(cell)
    if how == "failed":
        return cell.failure or "no run was timed, and nothing says why"
    if how == "unchecked":
        return "its result was not compared with ours"
    if how == "disagrees":
        return (
            f"its result differs from ours by {cell.agreement:.2g} of the largest number, "
            f"and {cell.tolerance:.2g} is allowed"
        )
    return ""


def labels(bench: Bench) -> tuple[dict[str, str], str]:
    """Return what names each cell beside the others, and what all their names have in common.

    Names are read as parts with commas between them: what every name has tells none apart.
    """
    parts = {cell.name: cell.name.split(", ") for cell in bench.cells}
    shared = [
        part for part in next(iter(parts.values()), list[str]()) if _in_all(part, parts.values())
    ]
    found = {
        name: ", ".join(part for part in of if part not in shared) for name, of in parts.items()
    }
    if len(found) < 2 or "" in found.values() or len(set(found.values())) < len(found):
        return {name: name for name in parts}, ""
    return found, ", ".join(shared)


def machine(provenance: Mapping[str, Any]) -> str:
    """Return the machine in words: its processor, cores, threads, and GPU where one is named."""
    parts = [str(provenance.get("cpu", "a machine that was not named"))]
    counted = (name for name in ("cores", "threads") if name in provenance)
    parts += [f"{name}: {provenance[name]}" for name in counted]
    parts += [str(provenance[name]) for name in ("gpu", "device") if provenance.get(name)]
    return ", ".join(parts)


def digits(value: float, significant: int = 3) -> str:
    """Return a number with so many significant digits, zeros that are significant among them.

    It has an exponent where it is below 1e-4 or from 1e6 on.
    """
    if value == 0 or not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{significant}g}"
    # As it is after rounding: 9.996 has two digits before the point.
    exponent = int(f"{value:.{significant - 1}e}".split("e")[1])
    return f"{value:.{max(0, significant - 1 - exponent)}f}"


def seconds_text(seconds: float) -> str:
    """Return a time with its unit: us, ms, s or min."""
    if seconds < 1e-3:
        return f"{digits(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{digits(seconds * 1e3)} ms"
    return f"{digits(seconds)} s" if seconds < 600 else f"{digits(seconds / 60)} min"


def times_text(ratio: float) -> str:
    """Return a ratio as `8.31x`, with the sign for times."""
    return f"{digits(ratio)}×"


def bytes_text(count: float) -> str:
    """Return a size in MiB, or in GiB from one on."""
    mebibytes = count / 2**20
    return f"{digits(mebibytes)} MiB" if mebibytes < 1024 else f"{digits(mebibytes / 1024)} GiB"


def range_text(spread: Range, unit: Literal["seconds", "times"]) -> str:
    """Return a median with its 10th and 90th percentile."""
    tell = seconds_text if unit == "seconds" else times_text
    return f"{tell(spread.median)} ({tell(spread.p10)} to {tell(spread.p90)})"


def _in_all(part: str, names: Iterable[list[str]]) -> bool:
    return all(part in of for of in names)
