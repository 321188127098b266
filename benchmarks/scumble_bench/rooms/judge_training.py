"""The judge's stage: its losses, and its accuracy on held-out scenes."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scumble_bench.rooms import world
from scumble_bench.rooms.autoencoder import half, latent_means
from scumble_bench.rooms.batches import Shelf, as_pictures, noun_masks, thing_masks
from scumble_bench.rooms.dataset import NOUNS, THINGS, Array
from scumble_bench.rooms.judge import MAP, Verdict
from scumble_bench.rooms.judge_network import JudgeNetwork, pooled

VISIBLE = 80
"""Visible pixels from which on a thing counts as there."""


class JudgeLosses:
    """Draws scenes, worsens half of them as a diffusion model would, and measures the judge."""

    names = ("loss", "segments", "presence", "colour", "pose")

    def __init__(self, network: JudgeNetwork, shelf: Shelf, batch: int, vae: Any = None) -> None:
        self.network = network
        self.shelf = shelf
        self.batch = batch
        self.vae = vae

    def __call__(self) -> Tensor:
        """Returns the whole loss and its parts."""
        rows = self.shelf.draw(self.batch)
        things = self.shelf["things"][rows]
        labels = self.shelf["labels"][rows]
        pictures = worsen(as_pictures(self.shelf["images"][rows]), self.vae)
        with half(pictures.device):
            found = self.network(pictures.contiguous(memory_format=torch.channels_last))
        presence, nouns, colours, poses = (part.float() for part in found)

        masks = noun_masks(labels, things, MAP)
        whole = torch.cat([1 - masks.sum(1, keepdim=True), masks], 1)
        segments = functional.cross_entropy(nouns, whole)

        area = masks.sum((2, 3)) * (128 / MAP) ** 2
        there = (area >= VISIBLE).float()
        sure = there + (area == 0)
        doubt = functional.binary_cross_entropy_with_logits(presence, there, reduction="none")
        seen = (doubt * sure).sum() / sure.sum()

        own = thing_masks(labels, THINGS, MAP)
        visible = own.sum((2, 3)) * (128 / MAP) ** 2 >= VISIBLE
        colour = _pooled_loss(pooled(colours, own), things[..., 1], visible)
        pose = _pooled_loss(pooled(poses, own), things[..., 2], visible)
        loss = segments + seen + 0.5 * colour + 0.5 * pose
        return torch.stack([loss, segments, seen, colour, pose])


def _pooled_loss(logits: Tensor, wanted: Tensor, visible: Tensor) -> Tensor:
    counts = ((wanted >= 0) & visible).float()
    each = functional.cross_entropy(
        logits.flatten(0, 1), wanted.clamp(min=0).long().flatten(), reduction="none"
    )
    return (each * counts.flatten()).sum() / counts.sum().clamp(min=1)


@torch.no_grad()
def worsen(pictures: Tensor, vae: Any = None) -> Tensor:
    """Makes pictures less clean: some through the VAE with noisy latents, blur, noise, light."""
    rows, device = len(pictures), pictures.device

    def some(share: float) -> Tensor:
        return (torch.rand(rows, 1, 1, 1, device=device) < share).float()

    if vae is not None:
        # Half of them on a GPU; on a CPU the autoencoder costs ten times what the judge does.
        through = max(1, rows // (2 if device.type == "cuda" else 8))
        with half(device):
            part = pictures[:through].contiguous(memory_format=torch.channels_last)
            latents = latent_means(vae, part)
            strength = 0.35 * torch.rand(through, 1, 1, 1, device=device)
            latents = latents + strength * torch.randn_like(latents)
            made = vae.decoder(vae.post_quant_conv(latents)).float()
        pictures = torch.cat([made, pictures[through:]])
    blurred = functional.avg_pool2d(functional.pad(pictures, (1, 1, 1, 1), "replicate"), 3, 1)
    mix = some(0.3) * torch.rand(rows, 1, 1, 1, device=device)
    pictures = pictures + mix * (blurred - pictures)
    light = 1 + 0.06 * torch.randn(rows, 1, 1, 1, device=device)
    shift = 0.04 * torch.randn(rows, 3, 1, 1, device=device)
    noise = some(0.5) * 0.06 * torch.randn_like(pictures)
    return ((pictures + 1) * light - 1 + shift + noise).clamp(-1, 1)


def judge_accuracy(
    judge: Callable[[Array], Sequence[Verdict]], scenes: int = 256
) -> dict[str, float]:
    """Measures a judge on held-out scenes, which come after those of the other figures.

    Returns:
        The shares of right answers: presence over nouns that are absent or of at least `VISIBLE`
        pixels, colour and pose over the visible ones; and the overlap of the segments.
    """
    shown = [world.scene(world.HELD_OUT + 10_000 + number) for number in range(scenes)]
    verdicts = judge(np.stack([scene.image for scene in shown]))
    right: dict[str, list[float]] = {"presence": [], "colour": [], "pose": [], "overlap": []}
    for scene, verdict in zip(shown, verdicts, strict=True):
        items = {item.noun: item for item in scene.items}
        for noun in NOUNS:
            item = items.get(noun)
            area = 0 if item is None else int(item.mask.sum())
            if 0 < area < VISIBLE:
                continue
            right["presence"].append(float(verdict.sees(noun) == (area > 0)))
            if item is None:
                continue
            right["colour"].append(float(verdict.colour[noun] == item.colour))
            if item.pose is not None:
                right["pose"].append(float(verdict.pose[noun] == item.pose))
            mask = verdict.mask(noun)
            union = int((mask | item.mask).sum())
            right["overlap"].append(float((mask & item.mask).sum()) / max(union, 1))
    return {name: float(np.mean(values)) for name, values in right.items() if values}
