"""A checkpoint's modules as diffusers loads them, for what Scumble is compared with."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel
from transformers.utils import logging

from scumble.arrays import Array
from scumble.errors import OptionError
from scumble.images import PictureLike, fit, from_model, load_picture, to_model
from scumble.models import Checkpoint, find_checkpoint
from scumble_bench.peers.peer import PeerPrecision

__all__ = ["Modules", "load_modules", "noise_of"]

DTYPES: dict[PeerPrecision, torch.dtype] = {
    "fp32": torch.float32,
    "fp64": torch.float64,
    "bf16": torch.bfloat16,
}


class Modules(NamedTuple):
    """A loaded checkpoint; text encoder and autoencoder are in float32 beside a UNet in bf16."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel

    @property
    def factor(self) -> int:
        """Pixels for each latent cell along a side."""
        return 2 ** (len(self.vae.config["block_out_channels"]) - 1)

    @property
    def channels(self) -> int:
        """Of a latent."""
        return int(self.unet.config["in_channels"])

    def encode(self, image: PictureLike, latent: tuple[int, int]) -> Tensor:
        """Return the scaled posterior mean, (1, channels, height, width)."""
        vae: Any = self.vae
        picture = fit(load_picture(image), (latent[0] * self.factor, latent[1] * self.factor))
        pixels = torch.from_numpy(to_model(picture.pixels)).to(vae.device, vae.dtype)
        return vae.encode(pixels).latent_dist.mean * vae.config["scaling_factor"]

    def decode(self, latents: Tensor) -> list[Array]:
        """Return a (height, width, 3) uint8 picture of each latent."""
        vae: Any = self.vae
        pixels = vae.decode(latents / vae.config["scaling_factor"]).sample.cpu().numpy()
        return [from_model(pixels[n : n + 1]) for n in range(len(pixels))]


def load_modules(
    model: str | Path, precision: PeerPrecision, threads: int | None, device: str
) -> tuple[Modules, Checkpoint]:
    """Return a checkpoint's modules, frozen, and what is known of its files.

    Args:
        model: a registered name or a diffusers folder.
        precision: of the UNet.
        threads: of torch, for the whole process; None leaves them.
        device: where they go.

    Raises:
        ModelError: no such model.
        OptionError: a precision that is not among those of `PeerPrecision`.
    """
    if precision not in DTYPES:
        raise OptionError(
            f"precision is {precision!r}; of torch's peers ask for one of {', '.join(DTYPES)}."
        )
    if threads is not None:
        torch.set_num_threads(threads)
    found = find_checkpoint(model)
    logging.disable_progress_bar()
    dtype = DTYPES[precision]
    wide = torch.float64 if dtype == torch.float64 else torch.float32

    def part(kind: Any, name: str, **dtypes: torch.dtype) -> Any:
        loaded = kind.from_pretrained(found.folder / name, local_files_only=True, **dtypes)
        return loaded.eval().requires_grad_(False).to(device)

    modules = Modules(
        part(UNet2DConditionModel, "unet", torch_dtype=dtype),
        part(AutoencoderKL, "vae", torch_dtype=wide),
        part(CLIPTextModel, "text_encoder", dtype=wide),
    )
    return modules, found


def noise_of(seed: int, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return the noise that Scumble draws for a seed, of a tensor's kind.

    Args:
        seed: of the run.
        shape: (rows, channels, height, width).
        like: gives type and device.
    """
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(like)
