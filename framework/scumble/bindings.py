"""The port values of one step, filled in control by control."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from scumble.arrays import Array, Floats
from scumble.controls import (
    Branch,
    FeatureRoute,
    Join,
    Mix,
    Read,
    Region,
    Route,
)
from scumble.errors import OptionError
from scumble.ports import Group, PortSizes, neutral

__all__ = ["Bindings", "MaskSlot", "ReadSlot"]

_READ: frozenset[Group] = frozenset({"read"})


@dataclass(frozen=True, slots=True)
class ReadSlot:
    """Where a named read lies in the output `read.<stride>`.

    Attributes:
        name: as in the plan.
        stride: of the sites that are averaged.
        row: batch row, or the number of rows for the replayed source.
        first, last: range of weight vectors, half-open.
    """

    name: str
    stride: int
    row: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MaskSlot:
    """Where a mask goes that a `before_step` hook gives.

    Attributes:
        name: as in the plan.
        port: `region.query` or `region.key`.
        row: batch row.
        owner: the plugin that asked for it.
    """

    name: str
    port: str
    row: int
    owner: str


class Bindings:
    """Collects the controls of one step and turns them into ports.

    Args:
        sizes: the model's axes.
        rows: rows of the step.
        replayed: True if row index `rows` is the recorded source.
        row_of: which row each live branch became.
        index: the step.
    """

    def __init__(
        self,
        sizes: PortSizes,
        rows: int,
        replayed: bool,
        row_of: Mapping[Branch, int],
        index: int,
    ) -> None:
        self._index = index
        self._sizes = sizes
        self._rows = rows
        self._replayed = replayed
        self._row_of = row_of
        self._ports: dict[str, Array] = {}
        self._reads: list[tuple[Read, int]] = []
        self._masks: list[MaskSlot] = []
        self.groups: frozenset[Group] = frozenset(("replay",) if replayed else ())

    @property
    def masks(self) -> tuple[MaskSlot, ...]:
        """Where masks go that are not known before the step."""
        return tuple(self._masks)

    def bind(self, owner: str, control: Route | Mix | Read | FeatureRoute | Region | Join) -> None:
        """Write one control's ports; `require_apart` has seen to it that none writes over another.

        Raises:
            OptionError: two reads of one name.
        """
        row = self._row_of[control.branch]
        match control:
            case Route():
                parts = (control.query, control.key, control.value)
                for slot, other in enumerate(parts):
                    if other is not None:
                        route = self._bound("route")["route"]
                        route[list(control.sites), slot, row] = self._row_of[other]
            case Mix():
                self._bind_mix(control, row)
            case FeatureRoute():
                route = self._bound("feature")["feature_route"]
                route[list(control.sites), row] = self._row_of[control.source]
            case Region():
                ports = self._bound("region")
                for port, mask in (("region.query", control.query), ("region.key", control.key)):
                    if isinstance(mask, str):
                        self._masks.append(MaskSlot(mask, port, row, owner))
                    else:
                        ports[port][row] = mask
                ports["region.sites"][list(control.sites), row] = 1
            case Join():
                ports = self._bound("join")
                ports["join.row"][row] = self._row_of[control.other]
                ports["join.sites"][list(control.sites), row] = 1
            case Read():
                if any(control.name == other.name for other, _ in self._reads):
                    raise OptionError(
                        f"plugin {owner!r} names a read {control.name!r} that exists already at "
                        f"step {self._index}; choose another name."
                    )
                self._reads.append((control, row))

    def record(self, row: int) -> None:
        """Ask for the state of a row, to be replayed in later runs."""
        self._bound("record")["record.row"][0] = row

    def force(self, groups: Iterable[Group]) -> None:
        """Bind groups even where they are neutral, for comparisons."""
        for group in groups:
            if group != "read" or not self._reads:
                self._bound(group)

    def ports(self) -> tuple[dict[str, Array], tuple[ReadSlot, ...]]:
        """Return the control ports, and where each read is found."""
        slots = self._bind_reads() if self._reads else ()
        return self._ports, slots

    def _bind_mix(self, control: Mix, row: int) -> None:
        pair = control.pair(self._index)
        if pair is None:
            return
        ports = self._bound("mix")
        ports["mix.source"][row], ports["mix.own"][row] = pair
        ports["mix.row"][row] = self._row_of[control.source]
        ports["mix.sites"][list(control.sites), row] = 1

    def _bound(self, group: Group) -> dict[str, Array]:
        if group not in self.groups:
            self._ports |= neutral(group, self._sizes, self._rows, self._replayed)
            self.groups = self.groups | frozenset((group,))
        return self._ports

    def _bind_reads(self) -> tuple[ReadSlot, ...]:
        sites = {control.sites for control, _ in self._reads}
        if len(sites) != 1:
            raise OptionError(
                f"reads at different sites in one step: {sorted(sites)}; read the same sites."
            )
        (chosen,) = sites
        strides = {self._sizes.sites.of("cross")[site].stride for site in chosen}
        if len(strides) != 1:
            raise OptionError(f"a read averages sites of strides {sorted(strides)}; choose one.")
        (stride,) = strides
        slots: list[ReadSlot] = []
        filled: dict[int, list[Floats]] = {}
        for control, row in self._reads:
            mine = filled.setdefault(row, [])
            first = len(mine)
            mine.extend(control.weights)
            slots.append(ReadSlot(control.name, stride, row, first, len(mine)))
        words = max(map(len, filled.values()))
        weights = np.zeros((self._rows + self._replayed, words, self._sizes.tokens))
        for row, vectors in filled.items():
            weights[row, : len(vectors)] = vectors
        gate = np.zeros(self._sizes.sites.count("cross"))
        gate[list(chosen)] = 1
        self._ports |= {"read.weights": weights, "read.sites": gate}
        self.groups = self.groups | _READ
        return tuple(slots)
