"""The contract between exporter, engines and plugins: every input and output of a UNet step.

One `Port` a line, with its axes. An engine refuses a step that feeds an undeclared name, shape or
dtype, and names the port. Axes are symbols: `rows` is how many branches run at once, `addressable`
is `rows` plus one when a recorded source row is replayed, `words` is how many weight vectors are
read; the others are fixed by the model.

A row index of `rows` addresses the replayed source row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from scumble.arrays import Array
from scumble.errors import PortError
from scumble.sites import SiteTable

__all__ = [
    "ADDED",
    "CONTROL_GROUPS",
    "INPUTS",
    "RECORD",
    "Group",
    "Port",
    "PortSizes",
    "check_inputs",
    "groups_of",
    "inputs_of",
    "neutral",
]

Group = Literal[
    "plain", "route", "mix", "read", "feature", "region", "join", "record", "replay", "loss",
    "match",
]  # fmt: skip
DType = Literal["float", "index"]


@dataclass(frozen=True, slots=True)
class Port:
    """A named input of the UNet graph.

    Attributes:
        name: as it appears in a pack.
        axes: symbol of each axis.
        dtype: `float` is the engine's precision, `index` is int64.
        group: what a variant must carry to have this port.
    """

    name: str
    axes: tuple[str, ...]
    dtype: DType
    group: Group


INPUTS: tuple[Port, ...] = (
    Port("sample", ("rows", "channels", "height", "width"), "float", "plain"),
    Port("timestep", ("rows",), "index", "plain"),
    Port("text", ("rows", "tokens", "features"), "float", "plain"),
    Port("route", ("self", "3", "rows"), "index", "route"),  # rows of Q, K, V
    Port("mix.source", ("rows", "tokens", "tokens"), "float", "mix"),  # S
    Port("mix.own", ("rows", "tokens"), "float", "mix"),  # d
    Port("mix.row", ("rows",), "index", "mix"),  # s
    Port("mix.sites", ("cross", "rows"), "float", "mix"),  # 1 where the mix is in force
    Port("read.weights", ("addressable", "words", "tokens"), "float", "read"),
    Port("read.sites", ("cross",), "float", "read"),  # 1 where a site is averaged
    Port("feature_route", ("resnet", "rows"), "index", "feature"),
    Port("region.query", ("rows", "height", "width"), "float", "region"),  # 0 or 1
    Port("region.key", ("rows", "height", "width"), "float", "region"),  # 0 or 1
    Port("region.sites", ("self", "rows"), "float", "region"),  # 1 where regions are in force
    Port("join.row", ("rows",), "index", "join"),  # whose keys are seen beside the routed ones
    Port("join.sites", ("self", "rows"), "float", "join"),  # 1 where they are
    Port("record.row", ("1",), "index", "record"),
    Port("source.text", ("1", "tokens", "features"), "float", "replay"),
    Port("loss.words", ("rows", "words", "tokens"), "float", "loss"),  # weights of a term's words
    Port("loss.rest", ("rows", "words", "tokens"), "float", "loss"),  # and of what they share with
    Port("loss.masks", ("rows", "words", "height", "width"), "float", "loss"),  # 0 or 1
    Port("loss.weights", ("rows", "words", "2"), "float", "loss"),  # of its token and space ratio
    Port("loss.sites", ("cross",), "float", "loss"),  # 1 where maps are seen
    Port("match.noise", ("rows", "channels", "height", "width"), "float", "match"),  # wanted
    Port("match.weight", ("rows",), "float", "match"),  # of its mean squared distance
)
"""Every fixed input. A replaying variant has `source.<site path>` (1, cells, channels) beside."""

ADDED: tuple[Port, ...] = (
    Port("added.text", ("rows", "pooled"), "float", "plain"),  # the pooled text
    Port("added.size", ("rows", "6"), "float", "plain"),  # h, w; crop top, left; target h, w
)
"""`added.text` and `added.size` are fed to a model whose UNet takes them (SDXL), and to no other.

A replayed source row needs none: they act through the time embedding of the rows that run, and what
was recorded of the source holds their effect already.
"""

CONTROL_GROUPS: tuple[Group, ...] = (
    "route", "mix", "read", "feature", "region", "join", "record", "replay",
)  # fmt: skip
"""The groups that a step binds; `loss` and `match` are of gradients alone."""

RECORD: frozenset[Group] = frozenset({"record"})

ADDRESSING: Mapping[str, str] = {
    "route": "addressable", "mix.row": "addressable", "join.row": "addressable",
    "feature_route": "rows", "record.row": "rows",
}  # fmt: skip
"""Ports whose values are rows -> the axis whose rows they may be."""

BY_NAME = {port.name: port for port in (*INPUTS, *ADDED)}


@dataclass(frozen=True, slots=True)
class PortSizes:
    """The axes that a model fixes.

    Attributes:
        latent: (channels, height, width) of the sample.
        tokens: length of the text window.
        features: width of a text embedding.
        sites: the UNet's sites.
        pooled: width of a pooled text, of a model with the `ADDED` ports, else None.
    """

    latent: tuple[int, int, int]
    tokens: int
    features: int
    sites: SiteTable
    pooled: int | None = None

    def axis(self, symbol: str, rows: int, replayed: bool) -> int | None:
        """Return the size of an axis, or None where any size is allowed."""
        return _size(symbol, self.axes(rows, replayed))

    def axes(self, rows: int, replayed: bool) -> dict[str, int | None]:
        """Return the size of every axis that has a name, or None where any size is allowed."""
        channels, height, width = self.latent
        return {
            "rows": rows,
            "addressable": rows + replayed,
            "channels": channels,
            "height": height,
            "width": width,
            "tokens": self.tokens,
            "features": self.features,
            "pooled": self.pooled,
            "self": self.sites.count("self"),
            "cross": self.sites.count("cross"),
            "resnet": self.sites.count("resnet"),
            "words": None,
        }


def inputs_of(groups: Iterable[Group], added: bool) -> tuple[Port, ...]:
    """Return the fixed inputs of a step, in order.

    Args:
        groups: beside the plain ports.
        added: True for a model that has the `ADDED` ports.
    """
    wanted = {"plain", *groups}
    found = [port for port in INPUTS if port.group in wanted]
    last = max(i for i, port in enumerate(found) if port.group == "plain") + 1
    return (*found[:last], *(ADDED if added else ()), *found[last:])


def groups_of(names: Iterable[str]) -> frozenset[Group]:
    """Return the port groups that a set of port names touches, `plain` left out."""
    found: set[Group] = set()
    for name in names:
        port = BY_NAME.get(name)
        if port is not None and port.group != "plain":
            found.add(port.group)
    return frozenset(found)


def check_inputs(ports: Mapping[str, object], sizes: PortSizes) -> int:
    """Check names, shapes, dtypes and row indices of a step's inputs; return the rows.

    Raises:
        PortError: naming the port, what was given and what is declared.
    """
    sample = np.asarray(ports.get("sample", 0))
    if sample.ndim != 4:
        raise PortError("port 'sample' is missing or not (rows, channels, height, width).")
    rows = int(sample.shape[0])
    if not rows:
        raise PortError("port 'sample' has no rows; a step needs one at least.")
    replayed = "source.text" in ports
    declared = inputs_of(groups_of(ports), sizes.pooled is not None)
    for port in declared:
        if port.name not in ports:
            raise PortError(f"port {port.name!r} is missing; its group {port.group!r} was fed.")
    paths = {f"source.{site.path}" for site in sizes.sites if site.kind != "resnet"}
    # Once for all ports: it counts sites, and a gradient has many ports.
    axes = sizes.axes(rows, replayed)
    for name, value in ports.items():
        if BY_NAME.get(name) in declared:
            _check_one(BY_NAME[name], value, axes)
        elif name not in paths or not replayed:
            known = ", ".join(
                port.name for port in inputs_of(CONTROL_GROUPS, sizes.pooled is not None)
            )
            raise PortError(f"port {name!r} is not declared; declared: {known}.")
    return rows


def _size(symbol: str, axes: Mapping[str, int | None]) -> int | None:
    return axes[symbol] if symbol in axes else int(symbol)


def _check_one(port: Port, value: object, axes: Mapping[str, int | None]) -> None:
    if not isinstance(value, np.ndarray):
        raise PortError(f"port {port.name!r} is a {type(value).__name__}, want a numpy array.")
    array = cast("Array", value)
    kinds = "iu" if port.dtype == "index" else "f"
    if array.dtype.kind not in kinds:
        raise PortError(f"port {port.name!r} has dtype {array.dtype}, want {port.dtype}.")
    wanted = tuple(_size(symbol, axes) for symbol in port.axes)
    fits = len(array.shape) == len(wanted) and all(
        size is None or size == given for given, size in zip(array.shape, wanted, strict=True)
    )
    if not fits:
        shown = ", ".join(
            symbol if size is None or symbol == str(size) else f"{symbol}={size}"
            for symbol, size in zip(port.axes, wanted, strict=True)
        )
        raise PortError(f"port {port.name!r} has shape {array.shape}, want ({shown}).")
    limit = axes[ADDRESSING[port.name]] if port.name in ADDRESSING else None
    if limit is not None and (array.min() < 0 or array.max() >= limit):
        raise PortError(
            f"port {port.name!r} addresses row {int(array.max())} or {int(array.min())}; "
            f"rows are 0 to {limit - 1}."
        )


def neutral(group: Group, sizes: PortSizes, rows: int, replayed: bool = False) -> dict[str, Array]:
    """Return the ports of a group at the values that change nothing."""
    own = np.arange(rows, dtype=np.int64)
    height, width = sizes.latent[1:]
    cross, tokens = sizes.sites.count("cross"), sizes.tokens
    selfs = sizes.sites.count("self")
    values: dict[Group, dict[str, Array]] = {
        "route": {"route": np.tile(own, (selfs, 3, 1))},
        "mix": {
            "mix.source": np.zeros((rows, tokens, tokens)),
            "mix.own": np.ones((rows, tokens)),
            "mix.row": own,
            "mix.sites": np.zeros((cross, rows)),
        },
        "read": {
            "read.weights": np.zeros((rows + replayed, 1, tokens)),
            "read.sites": np.zeros(cross),
        },
        "feature": {"feature_route": np.tile(own, (sizes.sites.count("resnet"), 1))},
        "region": {
            "region.query": np.zeros((rows, height, width)),
            "region.key": np.zeros((rows, height, width)),
            "region.sites": np.zeros((selfs, rows)),
        },
        "join": {"join.row": own, "join.sites": np.zeros((selfs, rows))},
        "record": {"record.row": np.zeros(1, np.int64)},
    }
    if group not in values:
        raise PortError(f"port group {group!r} has no neutral value.")
    return values[group]
