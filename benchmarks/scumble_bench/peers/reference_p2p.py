"""The reference way: Prompt-to-Prompt on a picture as the published repositories run it.

Written from their documented behaviour (google/prompt-to-prompt, cure-lab/PnPInversion; Hertz et
al. 2022, arXiv:2208.01626; Ju et al. 2023, arXiv:2310.01506), to have something to time Scumble
against: diffusers modules, Python attention processors at every site, each probability map in
memory, four rows at every step, everything done anew for each edit. The edits agree with Scumble's.

Rows of a 50-step edit: 450 of a picture (50 to invert it, 200 to find what the source's guided
steps lack to the inversion, 200 to edit), 200 of a generated pair.
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import Tensor
from transformers import CLIPTextModel
from transformers.utils import logging

from scumble.arrays import Array
from scumble.images import fit, from_model, load_picture, to_model
from scumble.models import Checkpoint, find_checkpoint
from scumble.schedulers import DDIM
from scumble.words import Tokenizer
from scumble_bench.peers.local_blend import LocalBlend
from scumble_bench.peers.map_attention import install
from scumble_bench.peers.map_controller import MapController, MapEdit
from scumble_engines.torch.sites import sites_of
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

__all__ = ["Modules", "ReferenceP2P", "ReferenceRun"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Modules(NamedTuple):
    """A loaded checkpoint; only the UNet is in the precision asked for."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceRun:
    """One finished edit.

    Attributes:
        latents: (2, channels, height, width) float32, source and target.
        pixels: (height, width, 3) uint8 of source and target.
        rows: row evaluations by stage: `inversion`, `offsets`, `edit`.
    """

    latents: Array
    pixels: tuple[Array, Array]
    rows: dict[str, int]


class ReferenceP2P:
    """A checkpoint edited the reference way.

    Args:
        modules: of the checkpoint; the UNet's attention processors are replaced.
        checkpoint: for its tokenizer and noise schedule.
    """

    def __init__(self, modules: Modules, checkpoint: Checkpoint) -> None:
        self._modules = modules
        self._checkpoint = checkpoint
        self._tokenizer = Tokenizer.load(checkpoint.tokenizer)
        self._slot = install(modules.unet)
        self._rows: Counter[str] = Counter()
        self.sites = sites_of(modules.unet)

    @classmethod
    def load(
        cls,
        model: str | Path = "rooms",
        precision: Literal["fp32", "bf16"] = "fp32",
        threads: int | None = None,
        device: str = "cpu",
    ) -> Self:
        """Load a checkpoint; `threads` is torch's, for the whole process."""
        if threads is not None:
            torch.set_num_threads(threads)
        found = find_checkpoint(model)
        logging.disable_progress_bar()

        def part(kind: Any, name: str, **dtype: torch.dtype) -> Any:
            loaded = kind.from_pretrained(found.folder / name, local_files_only=True, **dtype)
            return loaded.eval().requires_grad_(False).to(device)

        modules = Modules(
            part(UNet2DConditionModel, "unet", torch_dtype=DTYPES[precision]),
            part(AutoencoderKL, "vae"),
            part(CLIPTextModel, "text_encoder"),
        )
        return cls(modules, found)

    @torch.inference_mode()
    def edit(
        self,
        image: str | Path | Image.Image | Array | None = None,
        *,
        source: str,
        target: str,
        options: Mapping[str, Any] | None = None,
        steps: int = 50,
        guidance: float = 7.5,
        seed: int = 0,
        size: tuple[int, int] | None = None,
    ) -> ReferenceRun:
        """Edit a picture, or a generated one; the arguments are those of `Editor.edit`.

        Args:
            image: the picture; None generates source and target from one noise.
            source: describes the picture as it is.
            target: describes what it is to become.
            options: of the `prompt_to_prompt` plugin.
            steps: DDIM steps.
            guidance: classifier-free guidance scale.
            seed: of the noise of a generated pair.
            size: (height, width) in pixels; None is the model's native size.
        """
        self._rows.clear()
        chosen = PromptToPromptOptions.model_validate(dict(options or {}))
        ddim = DDIM(self._checkpoint.scheduler, steps)
        latent = self.latent_size(size)
        text = self.embed([source, target])
        if image is None:
            channels = int(self._modules.unet.config["in_channels"])
            noise = np.random.default_rng(seed).standard_normal((1, channels, *latent))
            start, offsets = torch.from_numpy(noise).to(text), None
        else:
            levels = self._invert(self._encode(image, latent), text[2:3], ddim)
            start, offsets = levels[0], self._offsets(levels, text, ddim, guidance)
        controller = self.controller(source, target, options, steps)
        blend = None
        if chosen.blend_words:
            prompts = self._tokenizer.encode(source), self._tokenizer.encode(target)
            blend = LocalBlend(chosen, prompts, self.sites, latent, steps)
        latents = start.expand(2, -1, -1, -1)
        for index in range(steps):
            noise = self.guided(latents, int(ddim.timesteps[index]), text, guidance, controller)
            controller.end_step()
            latents = _forward(ddim, latents, noise, index)
            if offsets is not None:
                latents = torch.cat([latents[:1] + offsets[index], latents[1:]])
            if blend is not None:
                latents = blend(latents, controller.stored, index)
        return ReferenceRun(latents.cpu().numpy(), self._decode(latents), dict(self._rows))

    def controller(
        self, source: str, target: str, options: Mapping[str, Any] | None, steps: int
    ) -> MapController:
        """Return what keeps and edits the maps of one edit; the arguments are those of `edit`."""
        chosen = PromptToPromptOptions.model_validate(dict(options or {}))
        prompts = self._tokenizer.encode(source), self._tokenizer.encode(target)
        like = torch.empty(0, dtype=self._modules.unet.dtype, device=self._modules.unet.device)
        return MapController(MapEdit.of(chosen, *prompts, self.sites, steps, like), self.sites)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return (2 n, tokens, features): the empty prompt n times, then the n prompts."""
        ids = np.stack([self._tokenizer.encode(p).ids for p in [""] * len(prompts) + [*prompts]])
        device = self._modules.unet.device
        return self._modules.text_encoder(torch.from_numpy(ids).to(device))[0]

    def guided(
        self,
        latents: Tensor,
        timestep: int,
        text: Tensor,
        guidance: float,
        controller: MapController | None,
    ) -> Tensor:
        """Return guided noise of (2, channels, height, width) latents; four rows.

        Args:
            latents: source and target.
            timestep: what the UNet is told.
            text: as `embed` returns it for two prompts.
            guidance: classifier-free guidance scale.
            controller: sees every map; None leaves them as they are.
        """
        stage = "offsets" if controller is None else "edit"
        self._slot.control = controller
        try:
            rows = self.predict(torch.cat([latents, latents]), timestep, text, stage)
        finally:
            self._slot.control = None
        unconditional, conditional = rows.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    def predict(self, latents: Tensor, timestep: int, text: Tensor, stage: str) -> Tensor:
        """Return the float32 noise of (rows, channels, height, width), booked to a stage."""
        unet = self._modules.unet
        self._rows[stage] += len(latents)
        noise = unet(latents.to(unet.dtype), timestep, encoder_hidden_states=text.to(unet.dtype))
        return noise.sample.float()

    def latent_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """Return (height, width) of the latent of a picture; None is the native size."""
        if size is None:
            return self.sites.native
        return size[0] // self._factor, size[1] // self._factor

    @property
    def _factor(self) -> int:
        return 2 ** (len(self._modules.vae.config["block_out_channels"]) - 1)

    def _encode(self, image: str | Path | Image.Image | Array, latent: tuple[int, int]) -> Tensor:
        """Return the scaled posterior mean, (1, channels, height, width)."""
        vae: Any = self._modules.vae
        picture = fit(load_picture(image), (latent[0] * self._factor, latent[1] * self._factor))
        pixels = torch.from_numpy(to_model(picture.pixels)).to(vae.device)
        return vae.encode(pixels).latent_dist.mean * vae.config["scaling_factor"]

    def _decode(self, latents: Tensor) -> tuple[Array, Array]:
        vae: Any = self._modules.vae
        pixels = vae.decode(latents / vae.config["scaling_factor"]).sample.cpu().numpy()
        return from_model(pixels[:1]), from_model(pixels[1:])

    def _invert(self, clean: Tensor, text: Tensor, ddim: DDIM) -> list[Tensor]:
        """Return DDIM inversion's latents, noisiest first, each (1, channels, height, width)."""
        levels = [clean]
        for index in reversed(range(ddim.steps)):
            noise = self.predict(levels[-1], ddim.inverse_timestep(index), text, "inversion")
            above = ddim.inverse(levels[-1].cpu().numpy(), noise.cpu().numpy(), index)
            levels.append(torch.from_numpy(above).to(clean))
        return levels[::-1]

    def _offsets(
        self, levels: list[Tensor], text: Tensor, ddim: DDIM, guidance: float
    ) -> list[Tensor]:
        """Return what each guided step of the source lacks to the inverted latent.

        Both prompts are run, as published, though only the source's half is used.
        """
        found: list[Tensor] = []
        for index in range(ddim.steps):
            both = levels[index].expand(2, -1, -1, -1)
            noise = self.guided(both, int(ddim.timesteps[index]), text, guidance, None)
            found.append(levels[index + 1] - _forward(ddim, both, noise, index)[:1])
        return found


def _forward(ddim: DDIM, latents: Tensor, noise: Tensor, index: int) -> Tensor:
    """Return `DDIM.forward` of tensors."""
    moved = ddim.forward(latents.cpu().numpy(), noise.cpu().numpy(), index)
    return torch.from_numpy(moved).to(latents)
