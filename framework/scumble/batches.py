"""A step too large for its engine, run in parts: exact, for a row sees no row but those it names.

Rows of a batch meet only where a port sends one to another, as `route` does (`REFERRING`). So a
part that holds a row, every row it refers to, every row that those refer to, and so on, computes it
as the whole step would. Rows that several parts need are computed in each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from scumble.arrays import Array, Floats, Indices
from scumble.engine import StepOutput
from scumble.errors import UnsupportedError
from scumble.ports import ADDED, INPUTS, Group

__all__ = ["Part", "join", "least_rows", "split_rows"]

ROW_AXIS = {
    port.name: axis
    for port in (*INPUTS, *ADDED)
    for axis, symbol in enumerate(port.axes)
    if symbol in ("rows", "addressable")
}
REFERRING = ("route", "mix.row", "feature_route", "join.row")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some rows of a step, with all that they depend on.

    Attributes:
        ports: of a step by itself.
        rows: the rows of the whole step that are in it, in order.
        own: positions in `rows` of those whose outputs this part gives; the others are there
            because rows of its own refer to them.
    """

    ports: Mapping[str, object]
    rows: tuple[int, ...]
    own: tuple[int, ...]


def split_rows(ports: Mapping[str, object], limit: int) -> list[Part]:
    """Return a step as parts of few rows, whose outputs `join` puts together again.

    Args:
        ports: of the whole step, as checked by `scumble.ports.check_inputs`.
        limit: rows of the largest part.

    Raises:
        UnsupportedError: a row depends on so many others that no part of this size holds it.
    """
    needs = _needs(ports)
    if len(needs) <= limit:
        every = tuple(range(len(needs)))
        return [Part(ports, every, every)]
    largest = max(needs, key=len)
    if len(largest) > limit:
        raise UnsupportedError(
            f"a row of this step depends on {len(largest) - 1} others and {limit} rows are the "
            "most that can run at once; use an engine that takes more, or a method that refers "
            "to fewer rows."
        )
    held: list[set[int]] = []
    owned: list[list[int]] = []
    # The neediest first: rows that need no other fill what room they leave.
    for row in sorted(range(len(needs)), key=lambda r: (-len(needs[r]), r)):
        fitting = (i for i, rows in enumerate(held) if len(rows | needs[row]) <= limit)
        place = next(fitting, len(held))
        if place == len(held):
            held.append(set())
            owned.append([])
        held[place] |= needs[row]
        owned[place].append(row)
    return [
        _part(ports, tuple(sorted(rows)), frozenset(own))
        for rows, own in zip(held, owned, strict=True)
    ]


def least_rows(ports: Mapping[str, object]) -> int:
    """Return the smallest limit that `split_rows` can meet."""
    return max(map(len, _needs(ports)))


def join(parts: Sequence[Part], outputs: Sequence[StepOutput]) -> StepOutput:
    """Return the output of the whole step.

    Args:
        parts: as split.
        outputs: of each, in order.
    """
    recorded: dict[str, object] = {}
    bound: frozenset[Group] = frozenset()
    for output in outputs:
        recorded |= output.recorded
        bound |= output.bound
    strides = {stride for output in outputs for stride in output.reads}
    return StepOutput(
        noise=_joined(parts, [output.noise for output in outputs]),
        reads={s: _joined(parts, [output.reads[s] for output in outputs]) for s in strides},
        recorded=recorded,
        bound=bound,
    )


def _needs(ports: Mapping[str, object]) -> list[set[int]]:
    """Return for each row all rows that it depends on, itself among them."""
    count = cast("Array", ports["sample"]).shape[0]
    direct = [{row} for row in range(count)]
    for name in REFERRING:
        if name in ports:
            # (..., rows): whatever comes before, sites or Q, K and V, refers alike.
            index = cast("Indices", ports[name]).reshape(-1, count)
            for row in range(count):
                # The replayed source is no row of the batch: every part can address it.
                direct[row].update(int(other) for other in index[:, row] if other < count)
    needs: list[set[int]] = []
    for row in range(count):
        found, waiting = {row}, {row}
        while waiting:
            waiting = set[int]().union(*(direct[other] for other in waiting)) - found
            found |= waiting
        needs.append(found)
    return needs


def _part(ports: Mapping[str, object], rows: tuple[int, ...], own: frozenset[int]) -> Part:
    count = cast("Array", ports["sample"]).shape[0]
    # Whole-step row -> row of the part; the replayed source stays the one beyond the last.
    place = np.full(count + 1, -1, dtype=np.int64)
    place[[*rows, count]] = range(len(rows) + 1)
    chosen: dict[str, object] = {}
    for name, value in ports.items():
        if name == "record.row":
            (recorded,) = cast("Indices", value)
            if int(recorded) in own:
                chosen[name] = place[[recorded]]
            continue
        if name not in ROW_AXIS:
            chosen[name] = value
            continue
        array, axis = cast("Array", value), ROW_AXIS[name]
        extra = (count,) if array.shape[axis] > count else ()
        taken = np.take(array, [*rows, *extra], axis=axis)
        chosen[name] = place[taken] if name in REFERRING else taken
    return Part(chosen, rows, tuple(i for i, row in enumerate(rows) if row in own))


def _joined(parts: Sequence[Part], fields: Sequence[Floats]) -> Floats:
    """Return one array by row, and the replayed source after them where the fields have it."""
    rows = sum(len(part.own) for part in parts)
    beyond = fields[0][len(parts[0].rows) :]
    whole = np.empty((rows + len(beyond), *fields[0].shape[1:]), fields[0].dtype)
    whole[rows:] = beyond
    for part, field in zip(parts, fields, strict=True):
        whole[[part.rows[i] for i in part.own]] = field[list(part.own)]
    return whole
