"""The ONNX Runtime engine: a pack's graphs, one session each, nothing but numpy around them."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import onnxruntime

from scumble.arrays import Array, Floats, Indices
from scumble.engine import Engine, EngineSettings, ModelInfo, StepOutput
from scumble.errors import EngineError, ModelError, OptionError, PortError, UnsupportedError
from scumble.models import Checkpoint
from scumble.packs import Manifest, check_files
from scumble.ports import Group, groups_of, neutral

__all__ = ["OnnxRuntimeEngine"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine(Engine):
    """Runs a pack with ONNX Runtime, on the CPU or on CUDA."""

    name: ClassVar[str] = "onnxruntime"
    groups: ClassVar[frozenset[Group]] = frozenset(("route", "mix", "read", "region"))

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._folder: Path | None = None
        self._manifest: Manifest | None = None
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    @property
    def manifest(self) -> Manifest:
        """The loaded pack's manifest."""
        if self._manifest is None:
            raise EngineError("the onnxruntime engine has no pack; call load first.")
        return self._manifest

    @property
    def provider(self) -> str:
        """The execution provider in use; nothing is run on another one."""
        wanted, _, _ = self.settings.device.partition(":")
        available = onnxruntime.get_available_providers()
        if wanted == "auto":
            wanted = "cuda" if PROVIDERS["cuda"] in available else "cpu"
        if PROVIDERS[wanted] not in available:
            raise EngineError(
                f"device {wanted!r} was asked for and this onnxruntime has only "
                f"{', '.join(available)}; use device 'cpu'."
            )
        return PROVIDERS[wanted]

    @property
    def provenance(self) -> dict[str, str]:
        """Versions, provider, precision and threads."""
        return {
            "engine": self.name,
            "onnxruntime": onnxruntime.__version__,
            "device": self.provider,
            "precision": self.manifest.precision,
            "threads": str(self.settings.threads or "default"),
        }

    def encode_text(self, ids: Indices) -> Floats:
        """Return (prompts, tokens, features) embeddings of (prompts, tokens) ids."""
        return self._run(self.manifest.components["text_encoder"], {"ids": ids})[0]

    def encode_image(self, pixels: Floats) -> Floats:
        """Return the scaled latent of (1, 3, height, width) pixels in -1 to 1."""
        self._require_size(
            pixels.shape[-2] // self.info.factor, pixels.shape[-1] // self.info.factor
        )
        return self._run(self.manifest.components["vae_encoder"], {"pixels": pixels})[0]

    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width) pixels, about -1 to 1, of scaled latents."""
        self._require_size(latents.shape[-2], latents.shape[-1])
        return self._run(self.manifest.components["vae_decoder"], {"latents": latents})[0]

    def close(self) -> None:
        """Drop the sessions."""
        self._sessions.clear()
        self._manifest = self._folder = None

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        manifest = checkpoint.manifest
        if manifest is None:
            raise ModelError(
                f"{checkpoint.name!r} is no pack, and the onnxruntime engine runs packs; make one: "
                f"scumble export {checkpoint.name} --out PACK."
            )
        if self.settings.precision != manifest.precision:
            raise OptionError(
                f"pack {checkpoint.name!r} is made in {manifest.precision}; ask for that, or "
                "export another."
            )
        check_files(checkpoint.folder, manifest)
        self.close()
        self._manifest, self._folder = manifest, checkpoint.folder
        return ModelInfo(
            sites=manifest.table(),
            channels=manifest.channels,
            factor=manifest.factor,
            tokens=manifest.tokens,
            features=manifest.features,
        )

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        manifest = self.manifest
        feed = {name: cast("Array", value) for name, value in ports.items()}
        rows, _, height, width = feed["sample"].shape
        self._require_size(height, width)
        if rows > manifest.rows[1]:
            raise PortError(
                f"port 'sample' has {rows} rows and this pack runs at most {manifest.rows[1]} at "
                "once; edit fewer targets in one run."
            )
        asked = groups_of(feed)
        variant = manifest.variant_for(asked)
        if variant is None:
            raise UnsupportedError(
                f"this pack has no variant with {', '.join(sorted(asked))}; it has "
                f"{', '.join(manifest.variants)}: export it with more."
            )
        sizes = self.info.sizes((height, width))
        for group in set(manifest.variants[variant].groups) - asked:
            feed |= neutral(group, sizes, rows)
        strides = self._strides_read(feed) if "read" in asked else frozenset[int]()
        words = self._pad_words(feed) if "read.weights" in feed else 0
        outputs = self._run(manifest.variants[variant].file, feed)
        reads = zip(manifest.read_strides, outputs[1:], strict=False)
        return StepOutput(
            outputs[0],
            {stride: field[:, :words] for stride, field in reads if stride in strides},
            bound=asked,
        )

    def _strides_read(self, feed: Mapping[str, Array]) -> frozenset[int]:
        """Return the strides of the sites that are read; others than the graph's are refused."""
        made = self.manifest.read_strides
        sites = zip(self.info.sites.of("cross"), feed["read.sites"], strict=True)
        strides = frozenset(site.stride for site, gate in sites if gate)
        if not strides <= set(made):
            raise UnsupportedError(
                f"this pack reads maps at stride {' or '.join(map(str, made))}, not at "
                f"{', '.join(map(str, sorted(strides)))}."
            )
        return strides

    def _pad_words(self, feed: dict[str, Array]) -> int:
        """Pad the weight vectors to as many as the graph takes; return how many are meant."""
        weights = feed["read.weights"]
        spare = self.manifest.words - weights.shape[1]
        if spare < 0:
            raise UnsupportedError(
                f"this pack reads {self.manifest.words} weight vectors a row, not "
                f"{weights.shape[1]}; read fewer words at once."
            )
        feed["read.weights"] = np.pad(weights, ((0, 0), (0, spare), (0, 0)))
        return weights.shape[1]

    def _require_size(self, height: int, width: int) -> None:
        if (height, width) != self.manifest.latent:
            factor = self.info.factor
            made = " x ".join(str(side * factor) for side in self.manifest.latent)
            raise OptionError(
                f"this pack is made for pictures of {made} pixels, not {height * factor} x "
                f"{width * factor}; leave size out, or export another pack."
            )

    def _run(self, file: str, feed: Mapping[str, Array]) -> list[Array]:
        if file not in self._sessions:
            self._sessions[file] = self._session(file)
        typed = {
            name: np.ascontiguousarray(a, np.float32 if a.dtype.kind == "f" else np.int64)
            for name, a in feed.items()
        }
        try:
            return cast("list[Array]", self._sessions[file].run(None, typed))
        # onnxruntime raises classes of its own, which have no common base but this.
        except Exception as error:
            raise EngineError(f"onnxruntime could not run {file}: {error}") from error

    def _session(self, file: str) -> onnxruntime.InferenceSession:
        if self._folder is None:
            raise EngineError("the onnxruntime engine has no pack; call load first.")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if self.settings.threads is not None:
            options.intra_op_num_threads = self.settings.threads
        provider = self.provider
        _, _, number = self.settings.device.partition(":")
        try:
            session = onnxruntime.InferenceSession(
                self._folder / file,
                options,
                providers=[(provider, {"device_id": number} if number else {})],
            )
        # As above; a runtime that is older than the graphs' opset ends here.
        except Exception as error:
            raise EngineError(f"onnxruntime cannot load {file}: {error}") from error
        session.disable_fallback()
        # ONNX Runtime falls back to the CPU by itself and only prints that it did.
        if session.get_providers()[0] != provider:
            raise EngineError(
                f"onnxruntime runs {file} on {session.get_providers()[0]} though {provider} was "
                "asked for; check the installation, or use device 'cpu'."
            )
        return session
