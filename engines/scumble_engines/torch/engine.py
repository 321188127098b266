"""The torch engine: the reference that every other engine is compared with."""

import importlib.metadata
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel
from transformers.utils import logging as transformers_logging

from scumble.arrays import Array, Floats, Indices
from scumble.engine import Engine, EngineSettings, ModelInfo, Precision, StepOutput
from scumble.errors import ControlError, EngineError, ModelError
from scumble.models import Checkpoint
from scumble.ports import CONTROL_GROUPS, Group
from scumble_engines.torch.attention import ControlBus, Controls, PortProcessor, read_gate
from scumble_engines.torch.sites import sites_of

__all__ = ["Parts", "TorchEngine"]

T = TypeVar("T")

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class Parts(NamedTuple):
    """The modules of a loaded model, and what their attention reads its controls from."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    bus: ControlBus


class TorchEngine(Engine):
    """Runs a diffusers checkpoint with torch, on the CPU or on CUDA."""

    name: ClassVar[str] = "torch"
    groups: ClassVar[frozenset[Group]] = frozenset(CONTROL_GROUPS)

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._unet: UNet2DConditionModel | None = None
        self._vae: AutoencoderKL | None = None
        self._text: CLIPTextModel | None = None
        self._bus = ControlBus()
        self._paths: dict[str, str] = {}

    @property
    def parts(self) -> Parts:
        """The loaded modules, for the exporter, which traces what this engine runs."""
        unet, vae = _loaded(self._unet), _loaded(self._vae)
        return Parts(unet, vae, _loaded(self._text), self._bus)

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
        """Versions, device, precision and threads."""
        device = self.device
        kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        return {
            "engine": self.name,
            "torch": torch.__version__,
            "diffusers": importlib.metadata.version("diffusers"),
            "device": kind,
            "precision": self.settings.precision,
            "threads": str(torch.get_num_threads()),
        }

    def encode_text(self, ids: Indices) -> Floats:
        """Return (prompts, tokens, features) embeddings of (prompts, tokens) ids."""
        with torch.inference_mode():
            hidden = _loaded(self._text)(_tensor(ids).to(self.device))[0]
        return self._to_host(hidden)

    def encode_image(self, pixels: Floats) -> Floats:
        """Return the scaled posterior mean of (1, 3, height, width) pixels in -1 to 1."""
        vae = _loaded(self._vae)
        with torch.inference_mode():
            given = _tensor(pixels).to(self.device, vae.dtype)
            mean = cast("Any", vae.encode(given)).latent_dist.mean
            return self._to_host(mean * vae.config["scaling_factor"])

    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width) pixels, about -1 to 1, of scaled latents."""
        vae = _loaded(self._vae)
        with torch.inference_mode():
            given = _tensor(latents).to(self.device, vae.dtype)
            return self._to_host(
                cast("Any", vae.decode(given / vae.config["scaling_factor"])).sample
            )

    def to_host(self, handle: object) -> Array:
        """Return a recorded tensor as an array; numpy has no bf16, so that becomes float32."""
        tensor = cast("Tensor", handle)
        wide = torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype
        return tensor.to("cpu", wide).numpy()

    def to_handle(self, array: Array) -> object:
        """Return a recorded tensor on the device, as it was."""
        return self._to_device(array, DTYPES[self.settings.precision])

    def close(self) -> None:
        """Drop the modules, and what the device caches for them."""
        self._unet = self._vae = self._text = None
        self._bus.controls = Controls()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _load(self, checkpoint: Checkpoint) -> ModelInfo:
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        device, dtype = self.device, DTYPES[self.settings.precision]
        if device.type == "cpu" and dtype == torch.float16:
            raise EngineError("fp16 on a CPU is slow and wrong in places; use bf16 or fp32.")
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        if checkpoint.manifest is not None:
            raise ModelError(
                f"{checkpoint.name!r} is a pack, which the torch engine does not run; use engine "
                "'onnxruntime', or the diffusers folder that it was exported from."
            )
        if checkpoint.unet.get("addition_embed_type"):
            raise ModelError(
                f"{checkpoint.name!r} conditions its UNet on more than text, as SDXL does, and the "
                "torch engine cannot feed that yet; use a model of the SD 1.x or 2.x shape."
            )
        unet = _from_folder(UNet2DConditionModel, checkpoint, "unet", dtype).to(device)
        vae = _from_folder(AutoencoderKL, checkpoint, "vae", wide).to(device)
        text = _from_folder(CLIPTextModel, checkpoint, "text_encoder", wide).to(device)
        if dtype in (torch.bfloat16, torch.float16):
            unet = unet.to(memory_format=torch.channels_last)
        sites = sites_of(unet)
        modules = dict(unet.named_modules())
        for site in sites:
            module = modules[site.path]
            if site.kind == "resnet":
                conv = cast("nn.Module", module.conv2)
                conv.register_forward_hook(self._feature_hook(site.index, site.path))
            else:
                cast("Any", module).set_processor(PortProcessor(site, self._bus))
        self._unet, self._vae, self._text = unet, vae, text
        self._paths = {f"source.{s.path}": s.path for s in sites if s.kind != "resnet"}
        return ModelInfo(
            sites=sites,
            channels=int(unet.config["in_channels"]),
            factor=2 ** (len(vae.config["block_out_channels"]) - 1),
            tokens=int(text.config.max_position_embeddings),
            features=int(unet.config["cross_attention_dim"]),
        )

    def _feature_hook(self, index: int, path: str) -> Callable[[nn.Module, object, Tensor], Tensor]:
        def route(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
            controls = self._bus.controls
            if controls.feature_route is None:
                return output
            controls.visited.append(("feature", path))
            return output.index_select(0, controls.feature_route[index])

        return route

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        unet = _loaded(self._unet)
        with torch.inference_mode():
            controls = self._bind(ports)
            self._bus.controls = controls
            try:
                noise = unet(
                    self._to_device(ports["sample"], unet.dtype),
                    self._to_device(ports["timestep"]),
                    encoder_hidden_states=self._to_device(ports["text"], unet.dtype),
                    return_dict=False,
                )[0]
            finally:
                self._bus.controls = Controls()
            visited = [path for kind, path in controls.visited if kind == "site"]
            if visited != list(self._attention_order()):
                raise ControlError(
                    f"{len(visited)} of {len(self._paths)} attention sites ran through Scumble; "
                    "their processors were replaced after loading: load the model anew."
                )
            reads = {stride: self._to_host(field) for stride, field in controls.reads.items()}
            recorded: dict[str, object] = dict(controls.recorded)
            return StepOutput(self._to_host(noise), reads, recorded, self._took_effect(controls))

    def _attention_order(self) -> tuple[str, ...]:
        pairs = zip(self.info.sites.of("self"), self.info.sites.of("cross"), strict=True)
        return tuple(site.path for pair in pairs for site in pair)

    def _took_effect(self, controls: Controls) -> frozenset[Group]:
        """Return the groups that every site they concern has applied."""
        seen: dict[str, int] = {}
        for kind, _ in controls.visited:
            seen[kind] = seen.get(kind, 0) + 1
        sites = self.info.sites
        attention = sites.count("self") + sites.count("cross")
        wanted: dict[Group, int] = {
            "route": sites.count("self"),
            "region": sites.count("self"),
            "mix": sites.count("cross"),
            "read": len(controls.read_sites),
            "feature": sites.count("resnet"),
            "record": attention,
            "replay": attention,
        }
        if controls.read_weights is None:
            del wanted["read"]  # else a neutral read, which chooses no site, has none to miss
        return frozenset(g for g, count in wanted.items() if seen.get(g, 0) == count)

    def _bind(self, ports: Mapping[str, object]) -> Controls:
        sample = cast("Floats", ports["sample"])
        wide = torch.float64 if self.settings.precision == "fp64" else torch.float32
        half = DTYPES[self.settings.precision]

        def tensor(name: str, dtype: torch.dtype | None = None) -> Tensor | None:
            return self._to_device(ports[name], dtype) if name in ports else None

        gate = cast("Floats", ports.get("read.sites", np.zeros(0)))
        return Controls(
            latent=(sample.shape[-2], sample.shape[-1]),
            route=tensor("route"),
            mix_source=tensor("mix.source", wide),
            mix_own=tensor("mix.own", wide),
            mix_row=tensor("mix.row"),
            mix_sites=tensor("mix.sites", wide),
            read_weights=tensor("read.weights", wide),
            read_gate=read_gate(tensor("read.sites", wide)),
            read_sites=frozenset(int(site) for site in np.flatnonzero(gate)),
            feature_route=tensor("feature_route"),
            region_query=tensor("region.query", wide),
            region_key=tensor("region.key", wide),
            region_sites=tensor("region.sites", wide),
            record_row=tensor("record.row"),
            source_text=tensor("source.text", half),
            source={name: cast("Tensor", ports[name]) for name in self._paths if name in ports},
        )

    def _to_device(self, value: object, dtype: torch.dtype | None = None) -> Tensor:
        return _tensor(cast("Floats", value)).to(self.device, dtype)

    def _to_host(self, tensor: Tensor) -> Floats:
        wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        return tensor.to("cpu", wide).numpy()


def _loaded(module: T | None) -> T:
    if module is None:
        raise EngineError("the torch engine has no model; call load first.")
    return module


def _tensor(array: Array) -> Tensor:
    """Return a tensor over an array; a read-only one is copied, for torch cannot hold it so."""
    return torch.from_numpy(np.require(array, requirements="W"))


@contextmanager
def _quiet() -> Generator[None]:
    """Keep the loading bars of the two libraries off the user's terminal."""
    was_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            transformers_logging.enable_progress_bar()


def _from_folder(kind: Any, checkpoint: Checkpoint, part: str, dtype: torch.dtype) -> Any:
    """Load one component; weights that are missing are an error."""
    # The two libraries name one argument differently.
    chosen: dict[str, Any] = {"dtype" if part == "text_encoder" else "torch_dtype": dtype}
    try:
        with _quiet():
            module, report = kind.from_pretrained(
                checkpoint.folder / part,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                low_cpu_mem_usage=False,
                **chosen,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{checkpoint.name!r}: its {part} cannot be loaded: {error}") from error
    missing = [name for name in report["missing_keys"] if not name.endswith("position_ids")]
    if missing:
        raise ModelError(f"{checkpoint.name!r}: its {part} lacks weights, e.g. {missing[0]}.")
    return module.eval().requires_grad_(False)
