"""The diffusion stage: UNet and text encoder trained together on cached latents."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from scumble_bench.rooms import models
from scumble_bench.rooms.attention import Denoiser, word_loss
from scumble_bench.rooms.autoencoder import half
from scumble_bench.rooms.batches import memory_layout
from scumble_bench.rooms.dataset import CAPTIONS
from scumble_bench.rooms.shelves import LatentShelf
from scumble_bench.rooms.tokenizer import WINDOW

WORD_WEIGHT = 0.05
"""Weight of the auxiliary attention loss beside the noise's squared error."""
EMPTY_SHARE = 0.1
THING_WEIGHT = 4.0
"""How much more than the room a thing's cell counts, where there is no noise."""


def noise_levels(device: torch.device) -> Tensor:
    """Returns the cumulative alphas of the checkpoint's schedule, (1000,)."""
    return models.scheduler().alphas_cumprod.to(device)


def level_weights(ratio: Tensor) -> Tensor:
    """Returns what the noise's error counts at signal-to-noise ratios, (rows,).

    The ratio's inverse root, halfway between the error of the noise and that of the picture, which
    is larger by the ratio's inverse. A trained model's errors then count alike at all levels,
    within a factor of about two.
    """
    return ratio.rsqrt()


def cell_weights(masks: Tensor, alpha: Tensor) -> Tensor:
    """Returns what each cell of a latent counts, (rows, 1, h, w), 1 on average in a row.

    Things are a fifth of a picture, and what they are is told by few cells. They count more, the
    less noise there is: where it has yet to be settled whether there is a thing, weights that know
    would have the model see things everywhere.

    Args:
        masks: Share of each cell that a thing covers, (rows, things, h, w).
        alpha: Cumulative alphas of the rows' levels, (rows,).
    """
    covered = masks.sum(1, keepdim=True).clamp(max=1)
    counts = 1 + THING_WEIGHT * alpha[:, None, None, None] * covered
    return counts / counts.mean((1, 2, 3), keepdim=True)


def _text_attention(device: torch.device) -> AbstractContextManager[Any]:
    """On a CPU attention is written out: the fused kernel's backward pass takes 66 ms of 740."""
    return nullcontext() if device.type == "cuda" else sdpa_kernel(SDPBackend.MATH)


class TextToNoise(nn.Module):
    """Text encoder and UNet as one module, for one optimiser."""

    def __init__(self, text_encoder: Any, unet: Any) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.denoiser = Denoiser(unet)


class DiffusionLosses:
    """Draws latents, captions and noise, and measures how well the noise is found again.

    Epsilon prediction, weighted by `level_weights` and `cell_weights`, one caption in ten empty;
    beside it the named auxiliary loss on where noun and colour words look at 16x16.
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
        masks = self.shelf.masks[rows].float() / 255
        return self.shelf.latents[rows].float(), tokens, spans, masks

    def __call__(self) -> Tensor:
        """Returns the whole loss, the weighted error of the noise, and the words' loss."""
        latents, tokens, spans, masks = self.draw()
        # A little more of the low levels, which decide what a thing is.
        times = (1000 * torch.rand(self.batch, device=self.device) ** 1.25).long()
        alpha = self.alphas[times]
        noise = torch.randn_like(latents)
        signal = alpha[:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        with half(self.device):
            with _text_attention(self.device):
                text = models.encode_text(self.module.text_encoder, tokens)
            found, maps = self.denoise(
                noisy.contiguous(memory_format=memory_layout(self.device)), times, text
            )
        ratio = alpha / (1 - alpha)
        errors = (found.float() - noise).square() * cell_weights(masks, alpha)
        error = (errors.mean((1, 2, 3)) * level_weights(ratio)).mean()
        words = word_loss(maps.float(), spans, masks.flatten(2), alpha.sqrt())
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


def build_losses(
    module: TextToNoise, shelf: LatentShelf, batch: int, empty: list[int], compiles: bool
) -> DiffusionLosses:
    """Builds the losses of one process, compiled if that is asked for and works."""
    losses = DiffusionLosses(module, shelf, batch, empty)
    if compiles:
        compile_denoiser(losses, Console(width=160))
    return losses


def warm_compiler(batch: int) -> bool:
    """Compiles an untrained denoiser at this batch, so that the compiler's cache knows it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain: Any = TextToNoise(models.build_text_encoder(600), models.build_unet())
    module: TextToNoise = plain.to(device, memory_format=memory_layout(device))
    losses = DiffusionLosses(module, LatentShelf.random(batch, device), batch, [598, 599])
    return compile_denoiser(losses, Console(width=160))
