"""The diffusion stage: UNet and text encoder trained together on cached latents."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from scumble_bench.rooms import models
from scumble_bench.rooms.attention import Denoiser, word_loss
from scumble_bench.rooms.autoencoder import half
from scumble_bench.rooms.batches import memory_layout
from scumble_bench.rooms.dataset import CAPTIONS, THINGS, SceneCache
from scumble_bench.rooms.tokenizer import WINDOW

WORD_WEIGHT = 0.05
"""Weight of the auxiliary attention loss beside the noise's squared error."""
EMPTY_SHARE = 0.1
SNR_CAP = 5.0


def noise_levels(device: torch.device) -> Tensor:
    """Returns the cumulative alphas of the checkpoint's schedule, (1000,)."""
    return models.scheduler().alphas_cumprod.to(device)


def level_weights(ratio: Tensor) -> Tensor:
    """Returns what the noise's error counts at signal-to-noise ratios, (rows,).

    Min-SNR-5 (Hang and others, "Efficient diffusion training via Min-SNR weighting strategy", 2023)
    where the picture outweighs the noise. Elsewhere the ratio's inverse root: what stands where is
    settled there, though the error of the noise falls with the ratio. So levels from 200 to 950
    count alike, within a factor of two, to a trained model.
    """
    return ratio.clamp(max=SNR_CAP) / ratio * ratio.rsqrt().clamp(min=1)


class TextToNoise(nn.Module):
    """Text encoder and UNet as one module, for one optimiser."""

    def __init__(self, text_encoder: Any, unet: Any) -> None:
        super().__init__()
        if not torch.cuda.is_available():
            # The fused kernel's backward pass takes a tenth of a whole step there.
            text_encoder.set_attn_implementation("eager")
        self.text_encoder = text_encoder
        self.denoiser = Denoiser(unet)


class LatentShelf:
    """Latents, masks and captions of all encoded scenes, on the device."""

    def __init__(self, latents: Tensor, masks: Tensor, tokens: Tensor, words: Tensor) -> None:
        self.latents = latents
        self.masks = masks
        self.tokens = tokens
        self.words = words

    @staticmethod
    def load(work: Path, cache: SceneCache, scale: float, device: torch.device) -> "LatentShelf":
        """Reads what `encode_scenes` wrote, and the captions beside it."""
        rows = np.load(work / "rows.npy")
        latents = torch.from_numpy(np.load(work / "latents.npy"))
        return LatentShelf(
            (latents.float() * scale).half().to(device),
            torch.from_numpy(np.load(work / "masks.npy")).to(device),
            torch.from_numpy(cache.array("tokens")[rows]).to(device),
            torch.from_numpy(cache.array("words")[rows]).to(device),
        )

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


class DiffusionLosses:
    """Draws latents, captions and noise, and measures how well the noise is found again.

    Epsilon prediction, weighted by `level_weights`, one caption in ten empty; beside it the named
    auxiliary loss on where noun and colour words look at 16x16.
    """

    names = ("loss", "noise", "words")

    def __init__(
        self, module: TextToNoise, shelf: LatentShelf, batch: int, empty: list[int]
    ) -> None:
        self.module = module
        self.denoise: Any = module.denoiser
        self.shelf = shelf
        self.batch = batch
        self.device = shelf.latents.device
        self.alphas = noise_levels(self.device)
        padded = empty + [empty[-1]] * (WINDOW - len(empty))
        self.empty = torch.tensor(padded, device=self.device)

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draws latents, tokens, spans of noun and colour words, and masks."""
        device, batch = self.device, self.batch
        rows = torch.randint(len(self.shelf), (batch,), device=device)
        said = torch.randint(CAPTIONS, (batch,), device=device)
        silent = torch.rand(batch, device=device) < EMPTY_SHARE
        tokens = torch.where(silent[:, None], self.empty, self.shelf.tokens[rows, said].long())
        spans = self.shelf.words[rows, said][:, :, :2].long()
        spans = spans.masked_fill(silent[:, None, None, None], -1)
        masks = self.shelf.masks[rows].float().flatten(2) / 255
        return self.shelf.latents[rows].float(), tokens, spans, masks

    def __call__(self) -> Tensor:
        """Returns the whole loss, the weighted error of the noise, and the words' loss."""
        latents, tokens, spans, masks = self.draw()
        # More of the high levels, which decide what stands where: a level counts as its power 0.43.
        times = (1000 * torch.rand(self.batch, device=self.device) ** 0.7).long()
        alpha = self.alphas[times]
        noise = torch.randn_like(latents)
        signal = alpha[:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        with half(self.device):
            text = models.encode_text(self.module.text_encoder, tokens)
            found, maps = self.denoise(
                noisy.contiguous(memory_format=memory_layout(self.device)), times, text
            )
        ratio = alpha / (1 - alpha)
        errors = (found.float() - noise).square().mean((1, 2, 3))
        error = (errors * level_weights(ratio)).mean()
        words = word_loss(maps.float(), spans, masks, alpha.sqrt())
        return torch.stack([error + WORD_WEIGHT * words, error, words])


def compile_denoiser(losses: DiffusionLosses, console: Console) -> bool:
    """Compiles the denoiser of `losses`, if that works and gives the same noise.

    Returns:
        Whether it is compiled; if not, the console says why.
    """
    begun = time.monotonic()
    module = losses.module
    compiled: Any = torch.compile(module.denoiser, dynamic=False)
    try:
        with half(losses.device):
            latents, tokens, _, _ = losses.draw()
            times = torch.randint(1000, (losses.batch,), device=losses.device)
            text = models.encode_text(module.text_encoder, tokens)
            layout = latents.contiguous(memory_format=memory_layout(losses.device))
            fast, maps = compiled(layout, times, text)
            slow = module.denoiser(layout, times, text)[0].detach()
        (fast.float().square().mean() + maps.float().square().mean()).backward()
        gap = float((fast.detach() - slow).float().norm() / slow.float().norm().clamp(min=1e-6))
        if not gap < 0.05:
            raise RuntimeError(f"compiled and plain noise differ by {gap:.3f}")
    except Exception as problem:  # compilers raise anything; the plain module always works
        console.print(f"WARNING: torch.compile is not used: {type(problem).__name__}: {problem}")
        torch.compiler.reset()
        return False
    finally:
        module.zero_grad(set_to_none=True)
    losses.denoise = compiled
    seconds = time.monotonic() - begun
    console.print(f"torch.compile works, off by {gap:.4f}, ready after {seconds:.0f} s")
    return True


def warm_compiler(batch: int) -> bool:
    """Compiles an untrained denoiser at this batch, so that the compiler's cache knows it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain: Any = TextToNoise(models.build_text_encoder(600), models.build_unet())
    module: TextToNoise = plain.to(device, memory_format=memory_layout(device))
    losses = DiffusionLosses(module, LatentShelf.random(batch, device), batch, [598, 599])
    return compile_denoiser(losses, Console(width=160))
