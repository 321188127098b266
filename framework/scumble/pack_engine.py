"""What every engine that runs packs has in common: which graph a step takes, and what it is fed.

A subclass opens a pack and runs one graph; choosing the variant, filling neutral ports, padding
weight vectors and refusing what the pack was not made for happens here, alike for all of them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import numpy as np

from scumble.arrays import Array, Floats, Indices
from scumble.embeddings import Embedding
from scumble.engine import GUIDED, Engine, EngineSettings, Gradient, ModelInfo, StepOutput
from scumble.errors import EngineError, ModelError, OptionError, PortError, UnsupportedError
from scumble.models import Checkpoint, Form
from scumble.packs import Component, Manifest, check_files
from scumble.ports import CONTROL_GROUPS, Group, check_inputs, groups_of, neutral

__all__ = ["PackEngine"]

READ: frozenset[Group] = frozenset({"read"})


class PackEngine(Engine):
    """Base of the engines that run packs; subclasses write `_open`, `_run` and `_shut`."""

    groups: ClassVar[frozenset[Group]] = frozenset(CONTROL_GROUPS)
    runs: ClassVar[Form] = "pack"

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._folder: Path | None = None
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """The loaded pack's manifest."""
        if self._manifest is None:
            raise EngineError(f"the {self.name} engine has no pack; call load first.")
        return self._manifest

    @property
    def folder(self) -> Path:
        """The loaded pack's folder."""
        if self._folder is None:
            raise EngineError(f"the {self.name} engine has no pack; call load first.")
        return self._folder

    @property
    def most_rows(self) -> int | None:
        """Rows of the largest step that the pack takes."""
        return self.manifest.rows[1]

    def supports(self, groups: frozenset[Group]) -> bool:
        """Return whether the pack has a variant with these port groups at once."""
        if "loss" in groups:
            return groups <= self.groups and groups == GUIDED and self.manifest.guiding is not None
        return self.manifest.variant_for(groups) is not None

    def encode_text(self, *ids: Indices) -> Embedding:
        """Return prompts as the UNet takes them, of (prompts, tokens) ids by each tokenizer."""
        feed: dict[str, object] = dict(zip(("ids", "ids_2"), ids, strict=False))
        outputs = self._run(self.manifest.components["text_encoder"], _typed(feed))
        pooled = cast("Floats | None", outputs.get("pooled"))
        return Embedding(cast("Floats", outputs["text_encoder"]), pooled)

    def encode_image(self, pixels: Floats) -> Floats:
        """Return the scaled latent of (1, 3, height, width) pixels in -1 to 1."""
        factor = self.info.factor
        self._require_size(pixels.shape[-2] // factor, pixels.shape[-1] // factor)
        return self._component("vae_encoder", "pixels", pixels)

    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width) pixels, about -1 to 1, of scaled latents."""
        self._require_size(latents.shape[-2], latents.shape[-1])
        return self._component("vae_decoder", "latents", latents)

    def close(self) -> None:
        """Free the device; safe to call twice."""
        self._shut()
        self._manifest = self._folder = None

    @abstractmethod
    def _open(self, folder: Path, manifest: Manifest) -> None:
        """Make ready to run the graphs of a pack whose files have been checked."""

    @abstractmethod
    def _run(self, file: str, feed: Mapping[str, object]) -> dict[str, object]:
        """Run one graph of the pack.

        Args:
            file: of the manifest.
            feed: name -> array as the graph declares it (float32 or int64), or handle.

        Returns:
            Output name -> array; a handle for `source.<site>`.
        """

    @abstractmethod
    def _shut(self) -> None:
        """Free what `_open` and `_run` made."""

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        manifest = checkpoint.manifest
        if manifest is None:
            raise ModelError(
                f"{checkpoint.name!r} is no pack, and the {self.name} engine runs packs; make one: "
                f"scumble export {checkpoint.name} --out PACK."
            )
        if self.settings.precision not in self._precisions(manifest):
            raise OptionError(
                f"pack {checkpoint.name!r} is made in {manifest.precision}; ask for that, or "
                "export another."
            )
        check_files(checkpoint.folder, manifest, registered=checkpoint.registered)
        self.close()
        self._manifest, self._folder = manifest, checkpoint.folder
        self._open(checkpoint.folder, manifest)
        return ModelInfo(
            sites=manifest.table(),
            channels=manifest.channels,
            factor=manifest.factor,
            tokens=manifest.tokens,
            features=manifest.features,
            pooled=manifest.pooled,
        )

    def _precisions(self, manifest: Manifest) -> frozenset[str]:
        """Return the precisions in which this engine runs a pack."""
        return frozenset((manifest.precision,))

    def look(self, ports: Mapping[str, object]) -> dict[int, Floats]:
        """Return the maps of a step without its noise, by the truncated graph if there is one."""
        looking = self.manifest.looking
        if looking is None or groups_of(ports) - READ:
            return super().look(ports)
        check_inputs(ports, self.info.sizes(self.manifest.latent))
        return self._maps(self._evaluated(looking, ports), ports)

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        asked = groups_of(ports)
        outputs = self._evaluated(self._variant(asked), ports)
        recorded = {name: out for name, out in outputs.items() if name.startswith("source.")}
        return StepOutput(
            cast("Array", outputs["noise"]),
            self._maps(outputs, ports) if "read" in asked else {},
            recorded if "record" in asked else {},
            bound=asked,
        )

    def _gradient(self, ports: Mapping[str, object]) -> Gradient:
        """Return a gradient; more terms than the graph takes are differentiated in turns."""
        manifest, name = self.manifest, self.manifest.guiding
        if name is None:
            raise UnsupportedError(
                "this pack has no graph of gradients; export it with the variant 'guiding'."
            )
        self._require_size(*cast("Array", ports["sample"]).shape[-2:])
        self._require_strides("loss.sites", ports)
        reached = {site.path for site in self.info.sites.up_to_maps(manifest.read_strides)}
        beyond = {f"source.{site.path}" for site in self.info.sites if site.path not in reached}
        feed = {port: value for port, value in ports.items() if port not in beyond}
        latents, losses = np.zeros(1, np.float32), list[Array]()
        count = cast("Array", ports["loss.words"]).shape[1]
        for first in range(0, count, manifest.terms):
            turn = {p: _terms(p, value, first, manifest.terms) for p, value in feed.items()}
            found = self._run(manifest.variants[name].file, _typed(turn))
            latents = latents + cast("Array", found["gradient"])
            losses.append(cast("Array", found["losses"]))
        return Gradient(latents, np.concatenate(losses, axis=1)[:, :count])

    def _evaluated(self, variant: str, ports: Mapping[str, object]) -> dict[str, object]:
        """Run a variant, its further ports neutral."""
        manifest = self.manifest
        feed = dict(ports)
        rows, _, height, width = cast("Array", feed["sample"]).shape
        self._require_size(height, width)
        if rows > manifest.rows[1]:
            raise PortError(
                f"port 'sample' has {rows} rows and this pack runs at most {manifest.rows[1]} at "
                "once; edit fewer targets in one run."
            )
        asked, sizes = groups_of(feed), self.info.sizes((height, width))
        self._require_strides("read.sites", feed)
        for group in set(manifest.variants[variant].groups) - asked:
            feed |= neutral(group, sizes, rows, replayed="replay" in asked)
        if "read.weights" in feed:
            feed["read.weights"] = self._padded(cast("Array", feed["read.weights"]))
        return self._run(manifest.variants[variant].file, _typed(feed))

    def _maps(
        self, outputs: Mapping[str, object], ports: Mapping[str, object]
    ) -> dict[int, Floats]:
        """Return what was read, without the weight vectors that were padded."""
        words = cast("Array", ports["read.weights"]).shape[1]
        strides = self._require_strides("read.sites", ports)
        return {s: cast("Array", outputs[f"read.{s}"])[:, :words] for s in sorted(strides)}

    def _variant(self, asked: frozenset[Group]) -> str:
        """Return the variant that binds these groups; none is an error that says what there is."""
        variant = self.manifest.variant_for(asked)
        if variant is None:
            raise UnsupportedError(
                f"this pack has no variant with {', '.join(sorted(asked))}; it has "
                f"{', '.join(self.manifest.variants)}: export it with more."
            )
        return variant

    def _component(self, name: Component, given: str, value: Array) -> Floats:
        file = self.manifest.components[name]
        return cast("Floats", self._run(file, _typed({given: value}))[name])

    def _require_strides(self, port: str, ports: Mapping[str, object]) -> frozenset[int]:
        """Return the strides of the sites whose maps are seen; others than the pack's are refused.

        Args:
            port: the gate of the sites.
            ports: of a step or gradient.
        """
        made = self.manifest.read_strides
        cross = self.info.sites.of("cross")
        gates = cast("Array", ports.get(port, np.zeros(len(cross))))
        strides = frozenset(s.stride for s, gate in zip(cross, gates, strict=True) if gate)
        if not strides <= set(made):
            raise UnsupportedError(
                f"this pack reads maps at stride {' or '.join(map(str, made))}, not at "
                f"{', '.join(map(str, sorted(strides)))}."
            )
        return strides

    def _padded(self, weights: Array) -> Array:
        """Return weight vectors, as many as the graph takes."""
        spare = self.manifest.words - weights.shape[1]
        if spare < 0:
            raise UnsupportedError(
                f"this pack reads {self.manifest.words} weight vectors a row, not "
                f"{weights.shape[1]}; read fewer words at once."
            )
        return np.pad(weights, ((0, 0), (0, spare), (0, 0)))

    def _require_size(self, height: int, width: int) -> None:
        if (height, width) != self.manifest.latent:
            factor = self.info.factor
            made = " x ".join(str(side * factor) for side in self.manifest.latent)
            raise OptionError(
                f"this pack is made for pictures of {made} pixels, not {height * factor} x "
                f"{width * factor}; leave size out, use engine 'torch', or export another pack."
            )


def _terms(port: str, value: object, first: int, count: int) -> object:
    """Return as many terms of a loss as a graph takes; other ports are left alone.

    Missing terms are repeated ones of no weight: the terms of zeros would be 0 / 0.
    """
    if port not in ("loss.words", "loss.rest", "loss.masks", "loss.weights"):
        return value
    terms = cast("Array", value)[:, first : first + count]
    spare = [(0, 0), (0, count - terms.shape[1]), *[(0, 0)] * (terms.ndim - 2)]
    return np.pad(terms, spare) if port == "loss.weights" else np.pad(terms, spare, mode="edge")


def _typed(feed: Mapping[str, object]) -> dict[str, object]:
    """Return arrays contiguous, as float32 or int64, which is what every pack declares."""
    typed: dict[str, object] = {}
    for name, value in feed.items():
        if isinstance(value, np.ndarray):
            array = cast("Array", value)
            value = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        typed[name] = value
    return typed
