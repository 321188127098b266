"""The autoencoder's stage: training it, and encoding all scenes once."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scumble_bench.rooms.batches import Shelf, as_pictures, thing_masks
from scumble_bench.rooms.dataset import CHUNK, THINGS, Array

COLOUR_WEIGHT = 0.1
"""Least weight of the auxiliary loss that ties three latent channels to colours; 1 at the start."""
COLOUR_DECAY = 0.995
NOISE = 0.1
"""Standard deviation of the noise on latents in training, beside latents of about 1."""


def half(device: torch.device) -> Any:
    """Returns the autocast that training runs under."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Adds up absolute errors at three scales, squared errors, and errors of the edges."""
    difference = made - wanted
    loss = difference.abs().mean() + 2 * difference.square().mean()
    loss = loss + 0.5 * (difference[..., 1:] - difference[..., :-1]).abs().mean()
    loss = loss + 0.5 * (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    for factor in (2, 4):
        loss = loss + 0.5 * functional.avg_pool2d(difference, factor).abs().mean()
    return loss


class AutoencoderLosses:
    """Draws pictures and measures how well an autoencoder repeats them.

    Latents are deterministic with fixed noise; each channel is held near mean 0 and second
    moment 1. A KL term collapsed the latents in a trial. The first three channels are drawn
    towards the mean colours of their cells: without that the first thousand steps are spent on
    finding colours.
    """

    names = ("loss", "error", "moment")

    def __init__(self, vae: Any, shelf: Shelf, batch: int, window: int | None = None) -> None:
        self.vae = vae
        self.shelf = shelf
        self.batch = batch
        self.window = window
        self.colour_weight = torch.ones((), device=shelf.device)

    def _windows(self, images: Tensor) -> Tensor:
        """Returns whole pictures, or windows of more of them: more variety for the same work.

        Normalisation sees other statistics in a window than in a whole picture, so a step in two
        is of whole pictures, as many as have the pixels of the windows.
        """
        if self.window is None:
            return images
        size = images.shape[1]
        if torch.rand(()) < 0.5:
            return images[: max(1, len(images) * self.window**2 // size**2)]
        top, left = (int(torch.randint(size - self.window + 1, ())) for _ in range(2))
        return images[:, top : top + self.window, left : left + self.window]

    def __call__(self) -> Tensor:
        """Returns the loss, the squared error of pictures, and the latents' second moment."""
        rows = self.shelf.draw(self.batch)
        wanted = as_pictures(self._windows(self.shelf["images"][rows]))
        layout = wanted.contiguous(memory_format=torch.channels_last)
        with half(wanted.device):
            latents = latent_means(self.vae, layout)
            noisy = latents + NOISE * torch.randn_like(latents)
            made = self.vae.decoder(self.vae.post_quant_conv(noisy)).float()
        latents = latents.float()
        means, moments = latents.mean((0, 2, 3)), latents.square().mean((0, 2, 3))
        loss = picture_loss(made, wanted)
        loss = loss + 0.05 * ((moments - 1).square().mean() + means.square().mean())
        colours = (functional.avg_pool2d(wanted, 8) - 0.3) / 0.5
        loss = loss + self.colour_weight.clone() * (latents[:, :3] - colours).square().mean()
        self.colour_weight.mul_(COLOUR_DECAY).clamp_(min=COLOUR_WEIGHT)
        return torch.stack([loss, (made - wanted).square().mean(), moments.mean()])


class DecoderLosses:
    """Draws encoded scenes, and measures how well the decoder alone brings the pictures back.

    The encoder is left as it is, so that latents which other stages trained on stay valid.
    """

    names = ("loss", "error")

    def __init__(self, vae: Any, shelf: Shelf, latents: Tensor, rows: Tensor, batch: int) -> None:
        self.vae = vae
        self.shelf = shelf
        self.latents = latents
        self.rows = rows
        self.batch = batch

    def __call__(self) -> Tensor:
        """Returns the loss and the squared error of pictures; latents carry a little noise."""
        places = torch.randint(len(self.rows), (self.batch,), device=self.rows.device)
        wanted = as_pictures(self.shelf["images"][self.rows[places]])
        latents = self.latents[places].float()
        latents = latents + 0.3 * NOISE * torch.randn_like(latents)
        with half(wanted.device):
            made = self.vae.decoder(self.vae.post_quant_conv(latents)).float()
        error = (made - wanted).square().mean()
        return torch.stack([picture_loss(made, wanted) + 4 * error, error])


def latent_means(vae: Any, pictures: Tensor) -> Tensor:
    """Encodes pictures to the posterior's mean, unscaled."""
    return vae.quant_conv(vae.encoder(pictures))[:, :4]


def psnr(vae: Any, images: Tensor) -> float:
    """Returns the mean peak signal-to-noise ratio of (n, h, w, 3) bytes, encoded and decoded."""
    made = repeated(vae, images)
    errors = ((made - as_pictures(images).to(made)) / 2).square().mean((1, 2, 3))
    return float((-10 * errors.clamp(min=1e-10).log10()).mean())


@torch.no_grad()
def repeated(vae: Any, images: Tensor, batch: int = 32) -> Tensor:
    """Encodes and decodes (n, h, w, 3) bytes to (n, 3, h, w) floats from -1 to 1."""
    found: list[Tensor] = []
    parameter = next(iter(vae.parameters()))
    for part in images.split(batch):
        wanted = as_pictures(part.to(parameter.device)).to(parameter.dtype)
        made = vae.decode(vae.encode(wanted).latent_dist.mode()).sample.clamp(-1, 1)
        found.append(made.float())
    return torch.cat(found)


@torch.no_grad()
def encode_scenes(
    vae: Any, shelf: Shelf, folder: Path, batch: int, stop: Callable[[], bool] = lambda: False
) -> dict[str, float] | None:
    """Encodes all rendered scenes, and writes `latents.npy`, `masks.npy` and `rows.npy`.

    Returns:
        The latents' standard deviation and count; None if `stop` said so before the end.
    """
    device = shelf.device
    worker = copy.deepcopy(vae).to(device)
    chunks = shelf.chunks[: int(shelf.count)]
    step = min(CHUNK, shelf.cache.count)
    rows = (chunks[:, None] * CHUNK + torch.arange(step, device=device)).flatten()
    latents = np.empty((len(rows), 4, 16, 16), np.float16)
    masks = np.empty((len(rows), THINGS, 16, 16), np.uint8)
    for start in range(0, len(rows), batch):
        if stop():
            return None
        part = rows[start : start + batch]
        pictures = as_pictures(shelf["images"][part])
        with half(device):
            found = latent_means(worker, pictures.contiguous(memory_format=torch.channels_last))
        latents[start : start + batch] = found.half().cpu().numpy()
        areas = thing_masks(shelf["labels"][part], THINGS, 16)
        masks[start : start + batch] = (areas * 255).round().to(torch.uint8).cpu().numpy()
    deviation = float(latents[: 1 << 14].astype(np.float32).std())
    _write(folder / "masks.npy", masks)
    _write(folder / "rows.npy", rows.cpu().numpy())
    _write(folder / "latents.npy", latents)
    return {"latent_deviation": deviation, "scenes": len(rows)}


def _write(path: Path, array: Array) -> None:
    draft = path.with_suffix(".draft.npy")
    np.save(draft, array)
    draft.rename(path)
