"""The fake engine with gradients, by central differences: slow, and plain to see through."""

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np

from scumble.answers import Gradient
from scumble.arrays import Array, Floats
from scumble.ports import Group
from scumble.sites import Site
from scumble.testing.fake_engine import FakeEngine, Pass, made_weights

__all__ = ["GuidedFakeEngine"]

WIDTH = 1e-5
"""Of a difference; in float64 the derivative is right to about ten digits."""
MOST = 128
"""Rows that run at once."""


class GuidedFakeEngine(FakeEngine):
    """The fake engine, that knows the gradients of losses on its maps, too.

    Every number of the latent is moved up and down, a row each, so a gradient costs 512 rows of a
    native latent. It is computed in float64, whatever the precision.
    """

    groups: ClassVar[frozenset[Group]] = frozenset((*FakeEngine.groups, "loss"))

    def _gradient(self, ports: Mapping[str, object]) -> Gradient:
        given = cast("Mapping[str, Array]", ports)
        arrays = {name: _precise(value) for name, value in given.items()}
        sample = arrays["sample"][0]
        steps = np.eye(sample.size).reshape(-1, *sample.shape) * WIDTH
        moved = np.concatenate([sample[None], sample + steps, sample - steps])
        parts = [moved[first : first + MOST] for first in range(0, len(moved), MOST)]
        losses = np.concatenate([_losses(_rows(arrays, part)) for part in parts])
        total = (losses * arrays["loss.weights"]).sum(axis=(1, 2))
        up, down = np.split(total[1:], 2)
        slope = ((up - down) / (2 * WIDTH)).reshape(sample.shape)
        return Gradient(slope[None].astype(self.dtype), losses[:1].astype(self.dtype))


def _precise(value: Array) -> Array:
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def _rows(ports: Mapping[str, Array], samples: Floats) -> dict[str, Array]:
    """Return the ports of many rows, each of which is told what the one of a gradient is told."""
    count = len(samples)

    def spread(index: Array) -> Array:
        # 0 is the row itself, and 1 the replayed source.
        return np.where(index == 0, np.arange(count), count)

    found = dict(ports)
    found["sample"] = samples
    for name in ("timestep", "text", "mix.source", "mix.own", "added.text", "added.size"):
        if name in ports:
            found[name] = ports[name].repeat(count, axis=0)
    found["mix.sites"] = ports["mix.sites"].repeat(count, axis=1)
    found["route"], found["mix.row"] = spread(ports["route"]), spread(ports["mix.row"])
    return found


def _losses(ports: Mapping[str, Array]) -> Floats:
    """Return (rows, words, 2): the mean over sites of MAG-Edit's two ratios (eq. 5 and 6)."""
    seen = _Seen(ports, made_weights())
    seen.run()
    return sum(seen.terms[1:], start=seen.terms[0]) / ports["loss.sites"].sum()


class _Seen(Pass):
    """A forward pass that notes the terms of a loss."""

    def __init__(self, ports: Mapping[str, object], weights: Mapping[str, Floats]) -> None:
        super().__init__(ports, weights)
        self.terms: list[Floats] = []

    def _read(self, site: Site, maps: Floats) -> None:
        if not self._ports["loss.sites"][site.index]:
            return
        masks = self._ports["loss.masks"][0][:, :: site.stride, :: site.stride]
        inside = masks.reshape(len(masks), -1).T  # (cells, words)
        mine = maps[: self._rows]  # (rows, heads, cells, tokens)
        words = mine @ self._ports["loss.words"][0].T
        share = inside * words / (mine @ self._ports["loss.rest"][0].T)
        token = ((1 - share.sum(axis=2) / inside.sum(axis=0)) ** 2).mean(axis=1)
        space = ((inside * words).sum(axis=2) / words.sum(axis=2)).mean(axis=1)
        self.terms.append(np.stack([token, space], axis=-1))
