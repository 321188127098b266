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
    "TERMS",
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
TERMS = 4
"""Terms of a loss that a guiding graph takes; fewer are padded, more are taken in turns."""

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
        strides: of the maps that it gives or whose loss it derives.
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
    def guiding(self) -> bool:
        """Whether it gives a gradient, which is of one row."""
        return "loss" in self.groups

    @property
    def map_sites(self) -> frozenset[int]:
        """The cross-attentions whose maps are worth computing: all of a stride that is read."""
        read = self.sizes.sites.select("cross", strides=self.strides) if self.strides else ()
        return frozenset(read)

    @property
    def signature(self) -> Signature:
        """The module that is traced, of a step."""
        names = tuple(port.name for port in self.inputs)
        return Signature(names, self.outputs, self.sizes.latent[1:], self.map_sites)

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
            "noise": (("rows", channels, height, width), single),
            "gradient": ((1, channels, height, width), single),
            "losses": ((1, TERMS, 2), single),
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
        rows = 1 if self.guiding else rows
        values: dict[str, Array] = {
            "sample": rng.standard_normal((rows, *sizes.latent)),
            "timestep": rng.integers(0, 1000, rows),
            "text": rng.standard_normal((rows, sizes.tokens, sizes.features)),
        }
        if sizes.pooled is not None:
            values["added.text"] = rng.standard_normal((rows, sizes.pooled))
            values["added.size"] = rng.integers(0, 1024, (rows, 6)).astype(float)
        for group in self.groups:
            if group not in ("replay", "loss"):
                values |= neutral(group, sizes, rows, replayed)
        if self.guiding:
            values |= _loss(sizes, self.map_sites, rng)
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
        if self.guiding:
            open_axes = {"rows": 1, "addressable": 2, "words": TERMS}
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
        strides: strides of the maps that it gives or whose loss it derives, if it does.
        precision: of the UNet.
        truncated: True gives maps and no noise, and ends where the last map is known; so does a
            gradient.
    """
    inputs = [*inputs_of(groups, sizes.pooled is not None)]
    if "loss" in groups:
        reached = {f"source.{site.path}" for site in sizes.sites.up_to_maps(strides)}
        inputs += [port for port in source_ports(sizes) if port.name in reached]
        outputs = ("gradient", "losses")
        return Declaration(name, groups, sizes, tuple(inputs), outputs, strides, precision)
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
            # The replayed row, where there is one, is used; by a row that is alone as keys only.
            used = (..., 1, 0) if name == "route" and rows == 1 else (..., 0)
            drawn[used] = addressable - 1
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


def _loss(sizes: PortSizes, sites: frozenset[int], rng: np.random.Generator) -> dict[str, Array]:
    """Return a loss of `TERMS` terms, each of two tokens inside a box."""
    height, width = sizes.latent[1:]
    words = np.zeros((1, TERMS, sizes.tokens))
    masks = np.zeros((1, TERMS, height, width))
    for term in range(TERMS):
        words[0, term, rng.choice(sizes.tokens, 2, replace=False)] = rng.random(2) + 0.5
        top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
        masks[0, term, top : top + height // 2, left : left + width // 2] = 1
    gate = np.zeros(sizes.sites.count("cross"))
    gate[list(sites)] = 1
    return {
        "loss.words": words,
        "loss.rest": rng.random((1, TERMS, sizes.tokens)) + 0.1,
        "loss.masks": masks,
        "loss.weights": rng.standard_normal((1, TERMS, 2)),
        "loss.sites": gate,
    }


def nudged(name: str, array: Array, addressable: int) -> Array:
    """Return another value of a port that has to show in the outputs."""
    match name:
        case "route" | "mix.row" | "join.row" | "feature_route" | "record.row":
            return (array + 1) % addressable
        case "region.query" | "region.key" | "region.sites":
            return 1 - array
        case "read.sites" | "loss.sites":
            half = array.copy()
            half[: len(half) // 2] = 0
            return half
        case "loss.masks":
            return np.roll(array, 1, axis=-1)
        case "timestep":
            return (array + 500) % 1000
        case _:
            return np.flip(array, axis=-1).copy() + np.asarray(0.5, array.dtype)


def as_tensors(examples: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """Return examples as tensors."""
    return tuple(torch.from_numpy(array) for array in examples.values())
