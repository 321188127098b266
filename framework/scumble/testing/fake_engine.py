"""A UNet of a few hundred numbers that carries out every port, with its maps in the open.

It is the reference that shares no code with the real engines: where they keep attention fused and
move a mix to the values, this one builds each probability map, changes it and multiplies.
"""

from collections.abc import Mapping
from typing import ClassVar, cast

import numpy as np

from scumble.arrays import Array, Bools, Floats, Indices
from scumble.embeddings import Embedding
from scumble.engine import Engine, EngineSettings, ModelInfo, StepOutput
from scumble.errors import EngineError
from scumble.models import Checkpoint
from scumble.ports import CONTROL_GROUPS, Group
from scumble.sites import Kind, Place, Site, SiteTable

__all__ = ["FakeEngine", "Pass", "made_weights"]

CHANNELS, FACTOR, TOKENS, FEATURES = 4, 8, 16, 8
HIDDEN, HEADS = 8, 2
PEAKED = 3.0  # random queries and keys this much longer: their maps are far from even
BLOCKS: tuple[tuple[str, Place, int], ...] = (
    ("down_blocks.0.attentions.0", "down", 1),
    ("mid_block.attentions.0", "mid", 2),
    ("up_blocks.1.attentions.0", "up", 1),
)
RESNETS: tuple[tuple[str, Place], ...] = (
    ("down_blocks.0.resnets.0", "down"),
    ("up_blocks.1.resnets.0", "up"),
)


def _sites() -> SiteTable:
    kinds: tuple[tuple[Kind, str], ...] = (("self", "attn1"), ("cross", "attn2"))
    attention = tuple(
        Site(index, f"{path}.transformer_blocks.0.{name}", kind, place, stride, HIDDEN, HEADS)
        for index, (path, place, stride) in enumerate(BLOCKS)
        for kind, name in kinds
    )
    resnets = tuple(
        Site(index, path, "resnet", place, 1, HIDDEN, 0)
        for index, (path, place) in enumerate(RESNETS)
    )
    return SiteTable((*attention, *resnets), native=(8, 8))


SITES = _sites()


def made_weights() -> dict[str, Floats]:
    """Return every matrix of the UNet, the same in each process."""
    rng = np.random.default_rng(20240607)

    def matrix(inputs: int, outputs: int, gain: float = 1.0) -> Floats:
        return rng.standard_normal((inputs, outputs)) * gain / inputs**0.5

    weights = {"in": matrix(CHANNELS, HIDDEN), "out": matrix(HIDDEN, CHANNELS)}
    for site in SITES:
        if site.kind == "resnet":
            for part in ("conv1", "conv2", "around", "time"):
                weights[f"{site.path}.{part}"] = matrix(HIDDEN, HIDDEN)
        else:
            seen = HIDDEN if site.kind == "self" else FEATURES
            weights[f"{site.path}.q"] = matrix(HIDDEN, HIDDEN, PEAKED)
            weights[f"{site.path}.k"] = matrix(seen, HIDDEN)
            weights[f"{site.path}.v"] = matrix(seen, HIDDEN)
            weights[f"{site.path}.out"] = matrix(HIDDEN, HIDDEN)
    return weights


class FakeEngine(Engine):
    """A tiny UNet in numpy: deterministic, no weights to download, every port, no gradients.

    Two strides, three self- and three cross-attention sites, two resnets; a native picture has
    64x64 pixels, and any multiple of 8 will do. Precision fp64 computes in float64, all else in
    float32.
    """

    name: ClassVar[str] = "fake"
    groups: ClassVar[frozenset[Group]] = frozenset(CONTROL_GROUPS)

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._weights: dict[str, Floats] | None = None

    @property
    def provenance(self) -> dict[str, str]:
        """Version of numpy, and precision."""
        return {
            "engine": self.name,
            "device": "cpu",
            "numpy": np.__version__,
            "precision": self.settings.precision,
        }

    def encode_text(self, *ids: Indices) -> Embedding:
        """Return (prompts, tokens, features): waves by id and by place, the same for all time."""
        (given,) = ids
        rates = np.linspace(0.3, 2.9, FEATURES)
        places = np.arange(given.shape[1], dtype=np.float64)[None, :, None]
        waves = np.sin(given[..., None] * rates + 1) + 0.5 * np.cos(places * rates)
        return Embedding(waves.astype(self.dtype))

    def encode_image(self, pixels: Floats) -> Floats:
        """Return (1, 4, h, w): the mean colour of each 8x8 block, and its brightness."""
        rows, colours, height, width = pixels.shape
        blocks = pixels.reshape(rows, colours, height // FACTOR, FACTOR, width // FACTOR, FACTOR)
        colour = blocks.mean(axis=(3, 5))
        latent = np.concatenate([colour, colour.mean(axis=1, keepdims=True)], axis=1)
        return latent.astype(self.dtype)

    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width): each cell's colour as an 8x8 block."""
        return latents[:, :3].repeat(FACTOR, axis=2).repeat(FACTOR, axis=3)

    def close(self) -> None:
        """Forget the weights."""
        self._weights = None

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        self._weights = {name: value.astype(self.dtype) for name, value in made_weights().items()}
        return ModelInfo(SITES, CHANNELS, FACTOR, TOKENS, FEATURES)

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        if self._weights is None:
            raise EngineError("the fake engine has no model; call load first.")
        return Pass(ports, self._weights).run()


class Pass:
    """One forward pass: rows come first on every axis, (rows, height, width, hidden)."""

    def __init__(self, ports: Mapping[str, object], weights: Mapping[str, Floats]) -> None:
        self._ports = cast("Mapping[str, Array]", ports)
        self._weights = weights
        self._latent: tuple[int, int] = self._ports["sample"].shape[2:]
        self._rows = self._ports["sample"].shape[0]
        self._reads: dict[int, list[Floats]] = {}
        self._recorded: dict[str, object] = {}
        self._bound: set[Group] = set()

    def run(self) -> StepOutput:
        """Return the noise, what was read and recorded, and the groups that took effect."""
        sample = np.moveaxis(self._ports["sample"], 1, -1)
        height, width = self._latent
        hidden = self._resnet(0, sample @ self._weights["in"])
        fine = self._block(0, hidden)
        grown = self._block(1, _halved(fine)).repeat(2, axis=1).repeat(2, axis=2)
        hidden = self._resnet(1, fine + grown[:, :height, :width])
        hidden = self._block(2, hidden)
        noise = 0.5 * sample + _normed(hidden) @ self._weights["out"]
        reads = {stride: np.mean(maps, axis=0) for stride, maps in self._reads.items()}
        if "read.weights" in self._ports:
            self._bound.add("read")
        moved = np.ascontiguousarray(np.moveaxis(noise, -1, 1))
        return StepOutput(moved, reads, self._recorded, frozenset(self._bound))

    def _resnet(self, index: int, hidden: Floats) -> Floats:
        path = SITES.of("resnet")[index].path
        time = self._ports["timestep"][:, None] * np.geomspace(0.001, 0.1, HIDDEN)
        told = (np.sin(time).astype(hidden.dtype) @ self._weights[f"{path}.time"])[:, None, None]
        inner = np.tanh(_normed(hidden) @ self._weights[f"{path}.conv1"] + told)
        feature = inner @ self._weights[f"{path}.conv2"]
        feature = feature + _neighbours(inner) @ self._weights[f"{path}.around"]
        if "feature_route" in self._ports:
            feature = feature[self._ports["feature_route"][index]]
            self._bound.add("feature")
        return hidden + feature

    def _block(self, index: int, hidden: Floats) -> Floats:
        rows, height, width, _ = hidden.shape
        cells = hidden.reshape(rows, height * width, HIDDEN)
        cells = cells + self._self(SITES.of("self")[index], _normed(cells))
        cells = cells + self._cross(SITES.of("cross")[index], _normed(cells))
        return cells.reshape(hidden.shape)

    def _self(self, site: Site, state: Floats) -> Floats:
        pool = self._addressable(site, state)
        q, k, v = (self._heads(site, part, pool) for part in "qkv")
        whose: Indices = np.tile(np.arange(self._rows, dtype=np.int64), (3, 1))
        if "route" in self._ports:
            whose = self._ports["route"][site.index]
            self._bound.add("route")
        logits, values = _logits(q[whose[0]], k[whose[1]]), v[whose[2]]
        seen = self._seen(site)
        if "join.row" in self._ports:
            self._bound.add("join")
            also = self._ports["join.row"]
            beside = _logits(q[whose[0]], k[also])
            closed = self._ports["join.sites"][site.index][:, None, None, None] == 0
            beside = np.where(closed, -np.inf, beside)
            if seen is not None:
                logits, seen = np.where(seen, logits, -np.inf), None
            logits = np.concatenate([logits, beside], axis=-1)
            values = np.concatenate([values, v[also]], axis=-2)
        return self._out(site, _softmax(logits, seen) @ values)

    def _seen(self, site: Site) -> Bools | None:
        """Return which key each query may see, (rows, 1, cells, cells); None is all of them."""
        if "region.sites" not in self._ports:
            return None
        self._bound.add("region")
        query, key = (
            self._ports[f"region.{end}"][:, :: site.stride, :: site.stride].reshape(self._rows, -1)
            for end in ("query", "key")
        )
        same = query[:, :, None] == key[:, None, :]
        off = self._ports["region.sites"][site.index] == 0
        # A query whose region has no key at all sees every key.
        alone = ~same.any(axis=2, keepdims=True)
        return (same | alone | off[:, None, None])[:, None]

    def _cross(self, site: Site, state: Floats) -> Floats:
        pool = self._addressable(site, state)
        text = self._ports["text"]
        if "source.text" in self._ports:
            text = np.concatenate([text, self._ports["source.text"]])
        q, k, v = (self._heads(site, p, x) for p, x in (("q", pool), ("k", text), ("v", text)))
        maps = _softmax(_logits(q, k), None)
        maps = self._mixed(site, maps)
        self._read(site, maps)
        return self._out(site, maps[: self._rows] @ v[: self._rows])

    def _mixed(self, site: Site, maps: Floats) -> Floats:
        """Return A_source S + A_own diag(d) for each row whose gate is open."""
        if "mix.sites" not in self._ports:
            return maps
        self._bound.add("mix")
        changed = maps.copy()
        for row in range(self._rows):
            if self._ports["mix.sites"][site.index, row]:
                source = maps[self._ports["mix.row"][row]]
                taken = source @ self._ports["mix.source"][row]
                changed[row] = taken + maps[row] * self._ports["mix.own"][row]
        return changed

    def _read(self, site: Site, maps: Floats) -> None:
        if "read.sites" not in self._ports or not self._ports["read.sites"][site.index]:
            return
        weights = self._ports["read.weights"]
        field = maps.mean(axis=1) @ np.moveaxis(weights, 1, 2)  # (addressable, cells, words)
        shape = (*weights.shape[:2], *site.grid(self._latent))
        self._reads.setdefault(site.stride, []).append(np.moveaxis(field, 2, 1).reshape(shape))

    def _addressable(self, site: Site, state: Floats) -> Floats:
        """Return the rows, and the replayed source row after them; record a row if asked to."""
        name = f"source.{site.path}"
        if "record.row" in self._ports:
            self._recorded[name] = state[self._ports["record.row"]].copy()
            self._bound.add("record")
        if "source.text" not in self._ports:
            return state
        self._bound.add("replay")
        return np.concatenate([state, self._ports[name]])

    def _heads(self, site: Site, part: str, state: Floats) -> Floats:
        """Return (rows, heads, cells, hidden / heads)."""
        projected = state @ self._weights[f"{site.path}.{part}"]
        return np.moveaxis(projected.reshape(*projected.shape[:2], HEADS, -1), 2, 1)

    def _out(self, site: Site, attended: Floats) -> Floats:
        joined = np.moveaxis(attended, 1, 2).reshape(self._rows, -1, HIDDEN)
        return joined @ self._weights[f"{site.path}.out"]


def _logits(queries: Floats, keys: Floats) -> Floats:
    return queries @ np.moveaxis(keys, -1, -2) / queries.shape[-1] ** 0.5


def _softmax(logits: Floats, seen: Bools | None) -> Floats:
    """Return probabilities over the last axis, 0 where a key is not seen."""
    if seen is not None:
        logits = np.where(seen, logits, -np.inf)
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _normed(hidden: Floats) -> Floats:
    return hidden / np.sqrt(np.mean(hidden**2, axis=-1, keepdims=True) + 1e-3)


def _neighbours(hidden: Floats) -> Floats:
    """Return the mean of the four cells around each, 0 beyond the border."""
    padded = np.pad(hidden, ((0, 0), (1, 1), (1, 1), (0, 0)))
    beside = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return (beside + padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]) / 4


def _halved(hidden: Floats) -> Floats:
    """Return the mean of each 2x2 cells; an odd side repeats its last row or column."""
    even = np.pad(hidden, ((0, 0), *((0, side % 2) for side in hidden.shape[1:3]), (0, 0)), "edge")
    rows, height, width, channels = even.shape
    return even.reshape(rows, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
