"""The torch engine: the reference that every other engine is compared with."""

import gc
import importlib.metadata
from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.func import functional_call

from scumble.arrays import Array, Floats, Indices
from scumble.embeddings import Embedding
from scumble.engine import Engine, EngineSettings, Gradient, Mode, ModelInfo, Precision, StepOutput
from scumble.errors import ControlError, EngineError, ModelError
from scumble.models import Checkpoint
from scumble.ports import CONTROL_GROUPS, Group, groups_of
from scumble_engines.torch.controls import ControlBus
from scumble_engines.torch.fast import FastSteps
from scumble_engines.torch.loading import load_component
from scumble_engines.torch.matching import with_gradient
from scumble_engines.torch.memory import typed_memory_errors
from scumble_engines.torch.ported import (
    PortedUNet,
    Signature,
    Visits,
    attach_ports,
    attachments,
    bound_groups,
    signature_of,
)
from scumble_engines.torch.sites import sites_of
from scumble_engines.torch.texts import TextEncoders, load_text_encoders

__all__ = ["Parts", "TorchEngine"]

T = TypeVar("T")

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
HALVES = (torch.bfloat16, torch.float16)


class Parts(NamedTuple):
    """The modules of a loaded model, and what their attention reads its controls from."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: TextEncoders
    bus: ControlBus


class TorchEngine(Engine):
    """Runs a diffusers checkpoint with torch, on the CPU or on CUDA."""

    name: ClassVar[str] = "torch"
    groups: ClassVar[frozenset[Group]] = frozenset((*CONTROL_GROUPS, "loss", "match"))
    modes: ClassVar[frozenset[Mode]] = frozenset(("eager", "compile", "graph"))

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._unet: UNet2DConditionModel | None = None
        self._vae: AutoencoderKL | None = None
        self._texts: TextEncoders | None = None
        self._bus = ControlBus()
        self._fast: FastSteps | None = None
        self._attached: tuple[int, ...] = ()
        self._wide: dict[str, Tensor] | None = None

    @property
    def parts(self) -> Parts:
        """The loaded modules, for the exporter, which traces what this engine runs."""
        unet, vae = _loaded(self._unet), _loaded(self._vae)
        return Parts(unet, vae, _loaded(self._texts), self._bus)

    @property
    def device(self) -> torch.device:
        """The device in use."""
        wanted = self.settings.device
        if wanted == "auto":
            wanted = "cuda" if torch.cuda.is_available() else "cpu"
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError("device 'cuda' was asked for and torch sees none; use device 'cpu'.")
        return torch.device(wanted)

    @property
    def provenance(self) -> dict[str, str]:
        """Versions, device, precision, mode and threads."""
        device = self.device
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return {
            "engine": self.name,
            "torch": torch.__version__,
            "diffusers": importlib.metadata.version("diffusers"),
            "device": kind,
            "precision": self.settings.precision,
            "mode": self.settings.mode,
            "threads": str(torch.get_num_threads()),
        }

    def encode_text(self, *ids: Indices) -> Embedding:
        """Return prompts as the UNet takes them, of (prompts, tokens) ids by each tokenizer."""
        with torch.inference_mode(), typed_memory_errors():
            given = (_tensor(each).to(self.device) for each in ids)
            states, pooled = _loaded(self._texts).encode(*given)
            return Embedding(_to_host(states), None if pooled is None else _to_host(pooled))

    def encode_image(self, pixels: Floats) -> Floats:
        """Return the scaled posterior mean of (1, 3, height, width) pixels in -1 to 1."""
        vae = _loaded(self._vae)
        with torch.inference_mode(), typed_memory_errors():
            given = _tensor(pixels).to(self.device, vae.dtype)
            mean = cast("Any", vae.encode(given)).latent_dist.mean
            return _to_host(mean * vae.config["scaling_factor"])

    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width) pixels, about -1 to 1, of scaled latents."""
        vae = _loaded(self._vae)
        with torch.inference_mode(), typed_memory_errors():
            given = _tensor(latents).to(self.device, vae.dtype)
            return _to_host(cast("Any", vae.decode(given / vae.config["scaling_factor"])).sample)

    def trim(self) -> None:
        """Free captured graphs, what a finished call still holds, and the allocator's cache."""
        if self._fast is not None:
            self._fast.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def widened(self) -> AbstractContextManager[Precision] | None:
        """Return a context in which a UNet in bf16 or fp16 runs in fp32, or None for others."""
        return self._widened() if DTYPES[self.settings.precision] in HALVES else None

    @contextmanager
    def _widened(self) -> Generator[Precision]:
        unet = _loaded(self._unet)
        with typed_memory_errors():
            # Copies beside the weights, which captured graphs know by address.
            named = (*unet.named_parameters(), *unet.named_buffers())
            self._wide = {f"unet.{name}": t.float() for name, t in named if t.is_floating_point()}
        try:
            yield "fp32"
        finally:
            self._wide = None

    def all_finite(self, handles: Iterable[object]) -> bool:
        """Return whether recorded state holds neither NaN nor Inf; the device is asked once."""
        each = [cast("Tensor", handle).isfinite().all() for handle in handles]
        return bool(torch.stack(each).all()) if each else True

    def to_host(self, handle: object) -> Array:
        """Return a recorded tensor as an array; numpy has no bf16, so that becomes float32."""
        tensor = cast("Tensor", handle)
        wide = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        return tensor.to("cpu", wide).numpy()

    def to_handle(self, array: Array) -> object:
        """Return a recorded tensor on the device, as it was."""
        return _tensor(array).to(self.device, DTYPES[self.settings.precision])

    def close(self) -> None:
        """Drop the modules, and what the device caches for them."""
        self._unet = self._vae = self._texts = self._fast = None
        self._bus = ControlBus()
        self.trim()

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        device, dtype = self.device, DTYPES[self.settings.precision]
        if device.type == "cpu" and dtype == torch.float16:
            raise EngineError("fp16 on a CPU is slow and wrong in places; use bf16 or fp32.")
        if device.type != "cuda" and self.settings.mode == "graph":
            raise EngineError(
                "mode 'graph' captures CUDA graphs and this is no CUDA device; use mode 'compile' "
                "or 'eager'."
            )
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        if checkpoint.manifest is not None:
            raise ModelError(
                f"{checkpoint.name!r} is a pack, which the torch engine does not run; use engine "
                "'onnxruntime', or the diffusers folder that it was exported from."
            )
        unet = load_component(UNet2DConditionModel, checkpoint, "unet", dtype, device)
        vae = load_component(AutoencoderKL, checkpoint, "vae", wide, device)
        texts = load_text_encoders(checkpoint, wide, device)
        if dtype in HALVES:
            unet = unet.to(memory_format=torch.channels_last)
        sites = sites_of(unet)
        attach_ports(unet, sites, self._bus)
        self._unet, self._vae, self._texts = unet, vae, texts
        self._attached = attachments(unet, sites)
        fast = self.settings.mode
        self._fast = None if fast == "eager" else FastSteps(fast)
        return ModelInfo(
            sites=sites,
            channels=int(unet.config["in_channels"]),
            factor=2 ** (len(vae.config["block_out_channels"]) - 1),
            tokens=int(texts.first.config.max_position_embeddings),
            features=int(unet.config["cross_attention_dim"]),
            pooled=texts.pooled,
        )

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        with torch.inference_mode(), typed_memory_errors():
            signature = self._signature(ports)
            module = PortedUNet(_loaded(self._unet), self._bus, signature)
            outputs, visits = self._run(module, self._tensors(ports, signature.inputs))
            given = dict(zip(signature.outputs, outputs, strict=True))
            reads = {int(n[5:]): _to_host(t) for n, t in given.items() if n.startswith("read.")}
            stored = DTYPES[self.settings.precision]
            state = {n: t.to(stored) for n, t in given.items() if n.startswith("source.")}
            bound = bound_groups(signature, visits, self.info.sites)
            return StepOutput(_to_host(given["noise"]), reads, dict[str, object](state), bound)

    def _gradient(self, ports: Mapping[str, object]) -> Gradient:
        module = with_gradient(_loaded(self._unet), self._bus, self.info, ports)
        with typed_memory_errors():
            # What was recorded in inference mode cannot be part of a graph; a copy can.
            with torch.no_grad():
                given = [tensor.clone() for tensor in self._tensors(ports, module.inputs)]
            return Gradient(*map(_to_host, module(*given)))

    def _signature(self, ports: Mapping[str, object]) -> Signature:
        """Return a step's signature: only the sites that are read, or all of their strides."""
        height, width = cast("Floats", ports["sample"]).shape[-2:]
        sites = self.info.sites
        chosen = np.flatnonzero(cast("Floats", ports.get("read.sites", np.zeros(0))))
        read = [int(site) for site in chosen]
        if self._fast is not None:
            # A form is made once for all reads at these strides; the gate tells them apart.
            strides = {sites.of("cross")[site].stride for site in read}
            read = list(sites.select("cross", strides=tuple(strides)))
        groups, added = groups_of(ports), self.info.pooled is not None
        return signature_of(groups, sites, (height, width), frozenset(read), added)

    def _run(
        self, module: PortedUNet, inputs: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], Visits]:
        if self._wide is not None:
            return functional_call(module, self._wide, inputs), module.visits
        if self._fast is None:
            return module(*inputs), module.visits
        if attachments(module.unet, self.info.sites) != self._attached:
            raise ControlError(
                f"the attention of the UNet was changed after loading, which mode "
                f"{self.settings.mode!r} would not see: load the model anew."
            )
        return self._fast.run(module, inputs)

    def _tensors(self, ports: Mapping[str, object], names: Iterable[str]) -> tuple[Tensor, ...]:
        """Return inputs by name on the device; what the host gives stays as exact as it is."""
        own = DTYPES[self.settings.precision] if self._wide is None else torch.float32
        tensors: list[Tensor] = []
        for name in names:
            if name not in ports:
                raise ControlError(
                    f"a replay was given no port {name!r}, so that site would have no effect; "
                    "feed the state of every site."
                )
            value = ports[name]
            if isinstance(value, Tensor):
                tensors.append(value.to(self.device, own))
            else:
                tensors.append(self._on_device(cast("Array", value)))
        return tuple(tensors)

    def _on_device(self, array: Array) -> Tensor:
        tensor = _tensor(array).to(self.device)
        wide = torch.float64 if self.settings.precision == "fp64" else torch.float32
        return tensor.to(wide) if tensor.is_floating_point() else tensor


def _loaded(module: T | None) -> T:
    if module is None:
        raise EngineError("the torch engine has no model; call load first.")
    return module


def _to_host(tensor: Tensor) -> Floats:
    wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.to("cpu", wide).numpy()


def _tensor(array: Array) -> Tensor:
    """Return a tensor over an array; a read-only one is copied, for torch cannot hold it so."""
    return torch.from_numpy(np.require(array, requirements="W"))
