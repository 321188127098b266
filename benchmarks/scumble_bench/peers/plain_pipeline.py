"""The floor: `StableDiffusionPipeline` of diffusers, which edits nothing; two rows a step.

What anyone gets who loads the checkpoint with diffusers: its pipeline, its DDIM scheduler, its
attention, its way to encode and decode.
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

import importlib
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from transformers import CLIPTokenizer
from transformers.utils import logging

from scumble.errors import OptionError
from scumble.models import Checkpoint
from scumble_bench.peers.compiling import BACKEND, torch_compiled
from scumble_bench.peers.loading import Modules, load_modules, noise_of
from scumble_bench.peers.peer import PeerPrecision, PeerRun, Picture, Work

__all__ = ["PlainPipeline"]

PIPELINE = "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion"


class PlainPipeline:
    """A checkpoint sampled by diffusers.

    Args:
        modules: of the checkpoint.
        checkpoint: for its tokenizer and noise schedule.
        compiled: whether the UNet runs under `torch.compile`.
        backend: of `torch.compile`.
    """

    method: ClassVar[str] = "generate"
    engine: ClassVar[str] = "torch"

    def __init__(
        self,
        modules: Modules,
        checkpoint: Checkpoint,
        *,
        compiled: bool = False,
        backend: str = BACKEND,
    ) -> None:
        self._modules = modules
        self._compiled = compiled
        self._rows = 0
        unet: Any = modules.unet
        forward = torch_compiled(unet.forward, backend) if compiled else unet.forward

        def counted(sample: Tensor, *args: Any, **named: Any) -> Any:
            self._rows += len(sample)
            return forward(sample, *args, **named)

        unet.forward = counted
        if modules.vae.dtype != unet.dtype:
            # diffusers wants the whole of a pipeline in one precision.
            modules.vae.to(unet.dtype)
            modules.text_encoder.to(unet.dtype)
        scheduler = DDIMScheduler.from_pretrained(checkpoint.folder / "scheduler")
        tokenizer = CLIPTokenizer.from_pretrained(checkpoint.tokenizer)
        self._pipeline: Any = _pipeline_class()(
            vae=modules.vae,
            text_encoder=modules.text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self._pipeline.set_progress_bar_config(disable=True)

    @classmethod
    def load(
        cls,
        model: str | Path = "rooms",
        precision: PeerPrecision = "fp32",
        threads: int | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> Self:
        """Load a checkpoint; the arguments are those of `Reference.load`."""
        return cls(*load_modules(model, precision, threads, device), **settings)

    @property
    def name(self) -> str:
        """As the registry has it."""
        return "plain diffusers" + " compiled" * self._compiled

    @torch.inference_mode()
    def run(self, work: Work, picture: Picture | None = None) -> PeerRun:
        """Generate a picture; see `Peer.run`."""
        if work.source is not None or picture is not None:
            raise OptionError(f"{self.name} edits nothing; give it a target alone.")
        self._rows = 0
        modules = self._modules
        side = int(modules.unet.config["sample_size"])
        height, width = work.size or (side * modules.factor, side * modules.factor)
        shape = (1, modules.channels, height // modules.factor, width // modules.factor)
        like = torch.empty(0, dtype=modules.unet.dtype, device=modules.unet.device)
        last: list[Tensor] = []

        def note(_: object, step: int, timestep: object, given: dict[str, Tensor]) -> Any:
            last[:] = [given["latents"]]
            return given

        made = self._pipeline(
            work.target,
            height=height,
            width=width,
            num_inference_steps=work.steps,
            guidance_scale=work.guidance,
            latents=noise_of(work.seed, shape, like),
            output_type="np",
            callback_on_step_end=note,
        )
        pixels = (made.images[0] * 255).round().astype(np.uint8)
        (latents,) = last
        wide = latents if latents.dtype == torch.float64 else latents.float()
        return PeerRun(wide.cpu().numpy(), {"sampling": self._rows}, 0, pixels)


def _pipeline_class() -> Any:
    """Return diffusers' class, imported without what transformers says of image processors."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        module = importlib.import_module(PIPELINE)
    finally:
        logging.set_verbosity(verbosity)
    return module.StableDiffusionPipeline
