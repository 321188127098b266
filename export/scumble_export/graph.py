"""What each variant's graph takes and gives: one declaration, from which all else follows."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scumble.arrays import Array
from scumble.packs import PackPrecision
from scumble.ports import Group, Port, PortSizes, inputs_of, neutral
from scumble_engines.torch.ported import Signature

__all__ = [
    "ROWS",
    "WORDS",
    "Axis",
    "Declaration",
    "as_tensors",
    "declare",
    "nudged",
]

ROWS = (1, 8)
"""Fewest and most rows of a step; the engine refuses more."""
WORDS = 2
"""Weight vectors that a reading graph takes; fewer are padded."""

Axis = int | str
"""A size, or `rows` or `rows + 1`."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one variant's graph takes and gives; a graph that differs is refused.

    Attributes:
        name: of the variant.
        groups: its port groups beside the plain ports.
        sizes: the model's axes.
        inputs: in order.
        outputs: names in order.
        strides: strides read, if it reads.
        precision: of the UNet; ports that the host fills are float32 all the same.
    """

    name: str
    groups: tuple[Group, ...]
    sizes: PortSizes
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    strides: tuple[int, ...]
    precision: PackPrecision

    @property
    def signature(self) -> Signature:
        """The module that is traced; every site of a stride that is read is worth computing."""
        read = self.sizes.sites.select("cross", strides=self.strides) if self.strides else ()
        names = tuple(port.name for port in self.inputs)
        return Signature(names, self.outputs, self.sizes.latent[1:], frozenset(read))

    @property
    def taken(self) -> dict[str, tuple[tuple[Axis, ...], np.dtype]]:
        """Input name -> axes and dtype."""
        return {port.name: (self._axes(port), self._dtype(port)) for port in self.inputs}

    @property
    def given(self) -> dict[str, tuple[tuple[Axis, ...], np.dtype]]:
        """Output name -> axes and dtype."""
        channels, height, width = self.sizes.latent
        single = np.dtype(np.float32)
        found: dict[str, tuple[tuple[Axis, ...], np.dtype]] = {
            "noise": (("rows", channels, height, width), single)
        }
        for stride in self.strides:
            grid = (-(-height // stride), -(-width // stride))
            found[f"read.{stride}"] = ((self._addressable, WORDS, *grid), single)
        for port in source_ports(self.sizes):
            found[port.name] = (self._axes(port), self._dtype(port))
        return {name: found[name] for name in self.outputs}

    def examples(self, rows: int, seed: int) -> dict[str, Array]:
        """Return random inputs that use every port, for tracing and for parity."""
        rng = np.random.default_rng(seed)
        sizes, replayed = self.sizes, "replay" in self.groups
        values: dict[str, Array] = {
            "sample": rng.standard_normal((rows, *sizes.latent)),
            "timestep": rng.integers(0, 1000, rows),
            "text": rng.standard_normal((rows, sizes.tokens, sizes.features)),
        }
        if sizes.pooled is not None:
            values["added.text"] = rng.standard_normal((rows, sizes.pooled))
            values["added.size"] = rng.integers(0, 1024, (rows, 6)).astype(float)
        for group in self.groups:
            if group != "replay":
                values |= neutral(group, sizes, rows, replayed)
        for name, array in values.items():
            values[name] = _stirred(name, array, rows + replayed, rows, sizes, rng)
        if replayed:
            for port in self.inputs:
                if port.group == "replay":
                    fixed = tuple(int(sizes.axis(a, rows, True) or 0) for a in port.axes)
                    values[port.name] = rng.standard_normal(fixed)
        return {name: values[name].astype(dtype) for name, (_, dtype) in self.taken.items()}

    @property
    def _addressable(self) -> str:
        return "rows + 1" if "replay" in self.groups else "rows"

    def _axes(self, port: Port) -> tuple[Axis, ...]:
        open_axes = {"rows": "rows", "addressable": self._addressable, "words": WORDS}
        return tuple(
            open_axes[axis] if axis in open_axes else int(self.sizes.axis(axis, 0, False) or 0)
            for axis in port.axes
        )

    def _dtype(self, port: Port) -> np.dtype:
        if port.dtype == "index":
            return np.dtype(np.int64)
        # Recorded state never reaches the host, and is as wide as the UNet.
        halves = self.precision == "fp16" and _is_state(port.name)
        return np.dtype(np.float16 if halves else np.float32)


def declare(
    name: str,
    groups: tuple[Group, ...],
    sizes: PortSizes,
    strides: tuple[int, ...],
    precision: PackPrecision = "fp32",
    truncated: bool = False,
) -> Declaration:
    """Return the declaration of a variant.

    Args:
        name: of the variant.
        groups: its port groups beside the plain ports.
        sizes: the model's axes.
        strides: strides that it reads, if it reads.
        precision: of the UNet.
        truncated: True gives maps and no noise, and ends where the last map is known.
    """
    inputs = [*inputs_of(groups, sizes.pooled is not None)]
    if "replay" in groups:
        inputs += source_ports(sizes)
    reads = strides if "read" in groups else ()
    outputs = [] if truncated else ["noise"]
    outputs += [f"read.{stride}" for stride in reads]
    if "record" in groups:
        outputs += [port.name for port in source_ports(sizes)]
    return Declaration(name, groups, sizes, tuple(inputs), tuple(outputs), reads, precision)


def source_ports(sizes: PortSizes) -> list[Port]:
    """Return the state of a source row, (1, cells, channels) at each attention site."""
    ports: list[Port] = []
    for site in sizes.sites:
        if site.kind != "resnet":
            height, width = site.grid(sizes.latent[1:])
            axes = ("1", str(height * width), str(site.channels))
            ports.append(Port(f"source.{site.path}", axes, "float", "replay"))
    return ports


def _is_state(name: str) -> bool:
    """Return whether a port is the recorded state of a site."""
    return name.startswith("source.") and name != "source.text"


def _stirred(
    name: str, array: Array, addressable: int, rows: int, sizes: PortSizes, rng: np.random.Generator
) -> Array:
    """Return a control port away from its neutral value, so that parity is measured on it."""
    match name:
        case "route" | "mix.row" | "join.row":
            drawn = rng.integers(0, addressable, array.shape)
            drawn[..., 0] = addressable - 1  # the replayed row, where there is one, is used
            return drawn
        case "feature_route" | "record.row":
            return rng.integers(0, rows, array.shape)
        case "mix.source" | "mix.own" | "mix.sites" | "join.sites":
            return rng.random(array.shape)
        case "region.query" | "region.key" | "region.sites":
            return rng.integers(0, 2, array.shape).astype(float)
        case "read.weights":
            return rng.random((addressable, WORDS, sizes.tokens))
        case "read.sites":
            return np.ones(array.shape)
        case _:
            return array


def nudged(name: str, array: Array, addressable: int) -> Array:
    """Return another value of a port that has to show in the outputs."""
    match name:
        case "route" | "mix.row" | "join.row" | "feature_route" | "record.row":
            return (array + 1) % addressable
        case "region.query" | "region.key" | "region.sites":
            return 1 - array
        case "read.sites":
            half = array.copy()
            half[: len(half) // 2] = 0
            return half
        case "timestep":
            return (array + 500) % 1000
        case _:
            return np.flip(array, axis=-1).copy() + np.asarray(0.5, array.dtype)


def as_tensors(examples: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """Return examples as tensors."""
    return tuple(torch.from_numpy(array) for array in examples.values())
