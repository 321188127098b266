"""A pack's plain UNet run by ONNX Runtime or OpenVINO themselves; nothing is edited.

What anyone gets who opens the exported graphs with the runtime's own package: a session or compiled
model a graph, numpy arrays in and out, two rows a step. No engine of Scumble is in between. CUDA,
which ONNX Runtime has too, was not run here.
"""

# onnxruntime and openvino leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import numpy as np

from scumble.arrays import Array
from scumble.errors import EngineError, ModelError, OptionError
from scumble.images import from_model
from scumble.models import Checkpoint, find_checkpoint
from scumble.packs import Manifest
from scumble.schedulers import DDIM
from scumble.words import Tokenizer
from scumble_bench.peers.peer import PeerPrecision, PeerRun, Picture, Work

__all__ = ["PlainRuntimeUNet", "RuntimeName"]

RuntimeName: TypeAlias = Literal["onnxruntime", "openvino"]
Graph: TypeAlias = Callable[[dict[str, Array]], Array]
"""Named inputs to the one output."""


class PlainRuntimeUNet:
    """A pack sampled by a runtime.

    Args:
        checkpoint: a pack.
        manifest: of it.
        engine: `onnxruntime` or `openvino`.
        opened: makes a runnable graph of a file.
    """

    method = "generate"

    def __init__(
        self,
        checkpoint: Checkpoint,
        manifest: Manifest,
        engine: RuntimeName,
        opened: Callable[[Path], Graph],
    ) -> None:
        self.engine = engine
        self._manifest = manifest
        self._scheduler = checkpoint.scheduler
        self._tokenizer = Tokenizer.load(checkpoint.tokenizer)
        folder = checkpoint.folder
        self._unet = opened(folder / manifest.variants["plain"].file)
        self._text = opened(folder / manifest.components["text_encoder"])
        self._decoder = opened(folder / manifest.components["vae_decoder"])

    @classmethod
    def load(
        cls,
        model: str | Path = "rooms",
        precision: PeerPrecision = "fp32",
        threads: int | None = None,
        device: str = "cpu",
        *,
        engine: RuntimeName = "onnxruntime",
    ) -> Self:
        """Load a pack, or the one beside a checkpoint.

        Args:
            model: a registered name or a folder.
            precision: fp32; other arithmetic needs what Scumble's engines add.
            threads: of the runtime.
            device: `cpu`, or for ONNX Runtime `cuda`.
            engine: the runtime.

        Raises:
            ModelError: there is no pack, or not one in fp32.
            OptionError: another precision or device.
            EngineError: the runtime would run it elsewhere.
        """
        if precision != "fp32":
            raise OptionError(f"plain {engine} runs fp32, not {precision}; ask for fp32.")
        found = find_checkpoint(model).pack
        if found is None or found.manifest is None or found.manifest.precision != "fp32":
            raise ModelError(f"{str(model)!r} has no pack in fp32; export one and give its folder.")
        make = _of_onnxruntime if engine == "onnxruntime" else _of_openvino
        return cls(found, found.manifest, engine, make(threads, device))

    @property
    def name(self) -> str:
        """As the registry has it."""
        return f"plain {self.engine}"

    def run(self, work: Work, picture: Picture | None = None) -> PeerRun:
        """Generate a picture; see `Peer.run`."""
        manifest, factor = self._manifest, self._manifest.factor
        if work.source is not None or picture is not None:
            raise OptionError(f"{self.name} edits nothing; give it a target alone.")
        if work.size not in (None, tuple(side * factor for side in manifest.latent)):
            raise OptionError(f"{self.name} has graphs of one size; leave size out.")
        ddim = DDIM(self._scheduler, work.steps)
        ids = np.stack([self._tokenizer.encode(text).ids for text in ("", work.target)])
        text = self._text({"ids": ids.astype(np.int64)})
        shape = (1, manifest.channels, *manifest.latent)
        latents = np.random.default_rng(work.seed).standard_normal(shape).astype(np.float32)
        rows = 0
        for index in range(work.steps):
            both = np.concatenate([latents, latents])
            timestep = np.full(len(both), ddim.timesteps[index], np.int64)
            noise = self._unet({"sample": both, "timestep": timestep, "text": text})
            rows += len(both)
            guided = noise[:1] + np.float32(work.guidance) * (noise[1:] - noise[:1])
            latents = ddim.forward(latents, guided, index)
        pixels = from_model(self._decoder({"latents": latents}))
        return PeerRun(latents, {"sampling": rows}, 0, pixels)


def _of_onnxruntime(threads: int | None, device: str) -> Callable[[Path], Graph]:
    """Return what makes sessions of graphs."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    providers = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
    if device not in providers:
        raise OptionError(f"device is {device!r}; plain onnxruntime runs on cpu or cuda.")
    provider = providers[device]

    def opened(path: Path) -> Graph:
        options = onnxruntime.SessionOptions()
        if threads is not None:
            options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=[provider])
        # It falls back to the CPU by itself, and a time of that would be called CUDA's.
        if session.get_providers()[0] != provider:
            raise EngineError(f"onnxruntime does not run on {device} here; use device 'cpu'.")
        return lambda feed: np.asarray(session.run(None, feed)[0])

    return opened


def _of_openvino(threads: int | None, device: str) -> Callable[[Path], Graph]:
    """Return what compiles graphs for the CPU."""
    # Which imports it so that it reports nothing to its makers.
    runtime: Any = importlib.import_module("scumble_engines.openvino.runtime").runtime
    if device != "cpu":
        raise OptionError(f"device is {device!r}; plain openvino runs on the cpu.")
    core: Any = runtime.Core()
    # Left alone it computes in bf16 where the CPU can.
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads

    def opened(path: Path) -> Graph:
        compiled = core.compile_model(core.read_model(path), "CPU", options)
        # The request keeps the answer's memory, which the next call writes over.
        return lambda feed: np.array(compiled(feed)[0])

    return opened
