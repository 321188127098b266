"""A UNet with its ports as inputs and outputs, ready to be traced: one declaration for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scumble.arrays import Array
from scumble.errors import ModelError
from scumble.ports import INPUTS, Group, Port, PortSizes, neutral
from scumble_engines.torch.attention import ControlBus, Controls, PortProcessor, read_gate

__all__ = ["ROWS", "WORDS", "Declaration", "PortedUNet", "as_tensors", "declare"]

ROWS = (1, 8)
"""Fewest and most rows of a step; the engine refuses more."""
WORDS = 2
"""Weight vectors that a reading graph takes; fewer are padded."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What one variant's graph takes and gives; a graph that differs is refused.

    Attributes:
        name: of the variant.
        groups: its port groups beside the plain ports.
        inputs: in order.
        outputs: names in order.
        strides: strides read, if it reads.
    """

    name: str
    groups: tuple[Group, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    strides: tuple[int, ...] = ()

    def shape(self, port: Port, sizes: PortSizes) -> tuple[int | str, ...]:
        """Return a port's shape, `rows` standing for itself."""
        dynamic = {"rows": "rows", "addressable": "rows", "words": WORDS}
        return tuple(
            dynamic[axis] if axis in dynamic else _fixed(sizes, axis) for axis in port.axes
        )

    def examples(self, sizes: PortSizes, rows: int, seed: int) -> dict[str, Array]:
        """Return random inputs that use every port, for tracing and for parity."""
        rng = np.random.default_rng(seed)
        values: dict[str, Array] = {
            "sample": rng.standard_normal((rows, *sizes.latent)),
            "timestep": rng.integers(0, 1000, rows),
            "text": rng.standard_normal((rows, sizes.tokens, sizes.features)),
        }
        for group in self.groups:
            values |= neutral(group, sizes, rows)
        for name, array in values.items():
            values[name] = _stirred(name, array, rows, sizes, rng)
        return {port.name: _typed(port, values[port.name]) for port in self.inputs}


def declare(groups: tuple[Group, ...], name: str, strides: tuple[int, ...]) -> Declaration:
    """Return the declaration of a variant with these port groups."""
    inputs = tuple(port for port in INPUTS if port.group in ("plain", *groups))
    reads = strides if "read" in groups else ()
    outputs = ("noise", *(f"read.{stride}" for stride in reads))
    return Declaration(name, groups, inputs, outputs, reads)


class PortedUNet(nn.Module):
    """A diffusers UNet whose controls are the arguments of `forward`.

    Args:
        unet: with a `PortProcessor` at every attention site.
        bus: what those processors read.
        declaration: the variant.
        sizes: the model's axes.
    """

    def __init__(
        self,
        unet: nn.Module,
        bus: ControlBus,
        declaration: Declaration,
        sizes: PortSizes,
    ) -> None:
        super().__init__()
        if not any(isinstance(p, PortProcessor) for p in _processors(unet)):
            raise ModelError("the UNet's attention has no ports; load it with the torch engine.")
        self.unet = unet
        self._bus = bus
        self._declaration = declaration
        self._sizes = sizes

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return noise, and the maps of each stride that is read."""
        names = (port.name for port in self._declaration.inputs)
        ports: dict[str, Tensor] = dict(zip(names, inputs, strict=True))
        sites = self._sizes.sites
        read = sites.select("cross", strides=self._declaration.strides)
        controls = Controls(
            latent=self._sizes.latent[1:],
            route=ports.get("route"),
            mix_source=ports.get("mix.source"),
            mix_own=ports.get("mix.own"),
            mix_row=ports.get("mix.row"),
            mix_sites=ports.get("mix.sites"),
            read_weights=ports.get("read.weights"),
            read_gate=read_gate(ports.get("read.sites")),
            read_sites=frozenset(read if "read.weights" in ports else ()),
            feature_route=ports.get("feature_route"),
            region_query=ports.get("region.query"),
            region_key=ports.get("region.key"),
            region_sites=ports.get("region.sites"),
        )
        self._bus.controls = controls
        try:
            noise = self.unet(
                ports["sample"],
                ports["timestep"],
                encoder_hidden_states=ports["text"],
                return_dict=False,
            )[0]
        finally:
            self._bus.controls = Controls()
        return (noise, *(controls.reads[stride] for stride in self._declaration.strides))


def _processors(unet: Any) -> list[object]:
    return list(unet.attn_processors.values())


def _fixed(sizes: PortSizes, axis: str) -> int:
    size = sizes.axis(axis, rows=0, replayed=False)
    assert size is not None
    return size


def _typed(port: Port, array: Array) -> Array:
    return array.astype(np.int64 if port.dtype == "index" else np.float32)


def _stirred(
    name: str, array: Array, rows: int, sizes: PortSizes, rng: np.random.Generator
) -> Array:
    """Return a control port away from its neutral value, so that parity is measured on it."""
    match name:
        case "route" | "feature_route" | "mix.row":
            return rng.integers(0, rows, array.shape)
        case "mix.source" | "mix.own" | "mix.sites":
            return rng.random(array.shape)
        case "region.query" | "region.key" | "region.sites":
            return rng.integers(0, 2, array.shape).astype(float)
        case "read.weights":
            return rng.random((rows, WORDS, sizes.tokens))
        case "read.sites":
            return np.ones(array.shape)
        case _:
            return array


def as_tensors(examples: Mapping[str, Array], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return examples as tensors, floats in the graph's precision."""
    tensors = (torch.from_numpy(array) for array in examples.values())
    return tuple(t.to(dtype) if t.is_floating_point() else t for t in tensors)
