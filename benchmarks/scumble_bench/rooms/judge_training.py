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
from scumble_bench.rooms.batches import (
    Shelf,
    as_pictures,
    memory_layout,
    noun_masks,
    thing_masks,
)
from scumble_bench.rooms.dataset import NOUNS, THINGS, Array
from scumble_bench.rooms.judge import MAP, Verdict
from scumble_bench.rooms.judge_network import JudgeNetwork, pooled

VISIBLE = 80
"""Visible pixels from which on a thing counts as there."""


class Decoded:
    """Scenes as a sampler would show them: through the autoencoder, with noisy latents.

    On a CPU the autoencoder costs ten times what the judge does, so a step decodes a few scenes
    and draws from those of many steps: a ring, in which the newest take the place of the oldest.

    Args:
        vae: The autoencoder, not to be trained.
        shelf: The scenes.
        fresh: Scenes that one draw decodes.
        size: Scenes that the ring holds.
    """

    def __init__(self, vae: Any, shelf: Shelf, fresh: int, size: int) -> None:
        device = shelf.device
        self.vae = vae
        self.shelf = shelf
        self.fresh = fresh
        # Zero until decoded; `draw` reads what is decoded only.
        self.rows = torch.zeros(size, dtype=torch.long, device=device)
        self.pictures = torch.zeros(size, 3, 128, 128, dtype=torch.half, device=device)
        self.count = torch.zeros((), dtype=torch.long, device=device)
        self._steps = torch.arange(fresh, device=device)

    @torch.no_grad()
    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        """Decodes some more, and draws from all: rows of the shelf, and pictures from -1 to 1."""
        size = len(self.rows)
        rows = self.shelf.draw(self.fresh)
        pictures = as_pictures(self.shelf["images"][rows])
        with half(pictures.device):
            latents = latent_means(self.vae, pictures.contiguous(memory_format=torch.channels_last))
            strength = 0.35 * torch.rand(self.fresh, 1, 1, 1, device=pictures.device)
            latents = latents + strength * torch.randn_like(latents)
            made = self.vae.decoder(self.vae.post_quant_conv(latents))
        places = (self.count + self._steps) % size
        self.rows[places] = rows
        self.pictures[places] = made.to(self.pictures.dtype)
        self.count += self.fresh
        known = self.count.clamp(max=size)
        chosen = (torch.rand(batch, device=self.rows.device) * known).long()
        return self.rows[chosen], self.pictures[chosen].float()


class JudgeLosses:
    """Draws scenes, worsens most of them as a diffusion model would, and measures the judge."""

    names = ("loss", "segments", "presence", "colour", "pose")

    def __init__(self, network: JudgeNetwork, shelf: Shelf, batch: int, vae: Any = None) -> None:
        self.network = network
        self.shelf = shelf
        self.batch = batch
        fresh = max(1, batch // (2 if shelf.device.type == "cuda" else 32))
        self.decoded = None if vae is None else Decoded(vae, shelf, fresh, 16 * batch)

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """Draws pictures, a quarter of them decoded, half of them mirrored; things and labels."""
        rows = self.shelf.draw(self.batch)
        pictures = as_pictures(self.shelf["images"][rows])
        if self.decoded is not None:
            share = self.batch // 4
            rows[:share], pictures[:share] = self.decoded.draw(share)
        labels = self.shelf["labels"][rows]
        # No noun, colour or pose of the world changes in a mirror.
        mirrored = torch.rand(self.batch, device=rows.device) < 0.5
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(3), pictures)
        labels = torch.where(mirrored[:, None, None], labels.flip(2), labels)
        return pictures, self.shelf["things"][rows], labels

    def __call__(self) -> Tensor:
        """Returns the whole loss and its parts."""
        pictures, things, labels = self.draw()
        pictures = worsen(pictures)
        with half(pictures.device):
            found = self.network(pictures.contiguous(memory_format=memory_layout(pictures.device)))
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
def worsen(pictures: Tensor) -> Tensor:
    """Makes pictures less clean: blur, noise, light."""
    rows, device = len(pictures), pictures.device

    def some(share: float) -> Tensor:
        return (torch.rand(rows, 1, 1, 1, device=device) < share).float()

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
