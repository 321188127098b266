"""Encoded scenes as tensors: what the diffusion stage draws from."""

# pyright: reportUnknownMemberType=false

import filecmp
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scumble_bench.rooms.dataset import CAPTIONS, THINGS, SceneCache
from scumble_bench.rooms.tokenizer import WINDOW


class LatentShelf:
    """Latents, masks and captions of all encoded scenes, on the device."""

    def __init__(self, latents: Tensor, masks: Tensor, tokens: Tensor, words: Tensor) -> None:
        self.latents = latents
        self.masks = masks
        self.tokens = tokens
        self.words = words

    @staticmethod
    def load(works: Sequence[Path], scale: float, device: torch.device) -> "LatentShelf":
        """Reads what `encode_scenes` wrote to work folders, and the captions beside it.

        Raises:
            ValueError: The folders have different tokenizers or autoencoders.
        """
        for work in works[1:]:
            for name in ("tokenizer/tokenizer.json", "vae.pt"):
                if not filecmp.cmp(works[0] / name, work / name, shallow=False):
                    raise ValueError(f"{works[0]} and {work} differ in {name}")
        parts: list[list[Tensor]] = [[], [], [], []]
        for work in works:
            rows = np.load(work / "rows.npy")
            described = json.loads((work / "scenes" / "cache.json").read_text(encoding="utf-8"))
            cache = SceneCache(work / "scenes", described["count"], described["first_seed"])
            for part, array in zip(
                parts,
                (
                    np.load(work / "latents.npy"),
                    np.load(work / "masks.npy"),
                    cache.array("tokens")[rows],
                    cache.array("words")[rows],
                ),
                strict=True,
            ):
                part.append(torch.from_numpy(array))
        latents, masks, tokens, words = (torch.cat(part) for part in parts)
        scaled = (latents.float() * scale).half()
        return LatentShelf(scaled.to(device), *(one.to(device) for one in (masks, tokens, words)))

    @staticmethod
    def random(count: int, device: torch.device) -> "LatentShelf":
        """Makes up latents, to try the machinery with."""
        return LatentShelf(
            torch.randn(count, 4, 16, 16, device=device).half(),
            torch.zeros(count, THINGS, 16, 16, dtype=torch.uint8, device=device),
            torch.zeros(count, CAPTIONS, WINDOW, dtype=torch.int16, device=device),
            torch.full((count, CAPTIONS, THINGS, 3, 2), -1, dtype=torch.int8, device=device),
        )

    def __len__(self) -> int:
        return len(self.latents)
