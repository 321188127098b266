"""The training-time attention processor and the auxiliary loss on where words look."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MAP_SITES = ("down_blocks.0.", "up_blocks.2.")
"""Modules whose cross-attention works at the latent's own size, 16x16."""


class WordMaps:
    """Attention that hands its probabilities to a list, where it is asked to keep them.

    diffusers passes `sink` on from `cross_attention_kwargs`. Off the GPU the softmax is always
    written out: the backward pass of the fused kernel is slow there in bfloat16.
    """

    def __init__(self, keep: bool) -> None:
        self.keep = keep

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        sink: list[Tensor] | None = None,
    ) -> Tensor:
        """Attends, and appends (rows, queries, keys), the mean over heads, to `sink`."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query = _heads(attn.to_q(hidden_states), attn.heads)
        key = _heads(attn.to_k(context), attn.heads)
        value = _heads(attn.to_v(context), attn.heads)
        keeping = self.keep and sink is not None
        if keeping or not query.is_cuda:
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            chances = scores.float().softmax(-1)
            if sink is not None and self.keep:
                sink.append(chances.mean(1))
            mixed = chances.to(value.dtype) @ value
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        rows, _, tokens, _ = mixed.shape
        joined = mixed.transpose(1, 2).reshape(rows, tokens, -1)
        return attn.to_out[1](attn.to_out[0](joined))


def _heads(states: Tensor, heads: int) -> Tensor:
    rows, tokens, width = states.shape
    return states.view(rows, tokens, heads, width // heads).transpose(1, 2)


class Denoiser(nn.Module):
    """A UNet that returns its noise and, beside it, the mean cross-attention at 16x16."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        unet.set_attn_processor(
            {
                name: WordMaps("attn2" in name and name.startswith(MAP_SITES))
                for name in unet.attn_processors
            }
        )
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts the noise (rows, 4, h, w) and the word maps (rows, h*w, tokens)."""
        sink: list[Tensor] = []
        noise = self.unet(
            noisy, timesteps, text, cross_attention_kwargs={"sink": sink}, return_dict=False
        )[0]
        return noise, torch.stack(sink).mean(0)


def token_weights(spans: Tensor, tokens: int) -> Tensor:
    """Turns token spans (..., 2) into weights (..., tokens) that average over the span.

    An empty span, start < 0, gives zeros.
    """
    places = torch.arange(tokens, device=spans.device)
    start, end = spans[..., :1], spans[..., 1:]
    inside = ((places >= start) & (places < end) & (start >= 0)).float()
    return inside / inside.sum(-1, keepdim=True).clamp(min=1)


def word_loss(maps: Tensor, spans: Tensor, masks: Tensor, weights: Tensor) -> Tensor:
    """Punishes attention of a word that lies outside the thing it names.

    Args:
        maps: Attention of each pixel to each token, (rows, pixels, tokens).
        spans: Token spans of the words, (rows, things, words, 2); start -1 where there is none.
        masks: Share of each pixel that a thing covers, (rows, things, pixels).
        weights: How much each row counts, (rows,).

    Returns:
        The mean of -log(share of the word's attention that lies in the mask), a scalar.
    """
    of_word = torch.einsum("rpt,rjwt->rjwp", maps, token_weights(spans, maps.shape[-1]))
    inside = (of_word * masks[:, :, None]).sum(-1)
    # Nothing is added above the line: with the same small number above and below, a run learned
    # after 2,500 steps to look at no word at all, for then both shrink to it and the share is 1.
    share = inside / of_word.sum(-1).clamp(min=1e-12)
    counts = ((spans[..., 0] >= 0) & (masks.sum(-1) > 0.5)[:, :, None]).float()
    counts = counts * weights[:, None, None]
    return -(share.clamp(1e-6, 1).log() * counts).sum() / counts.sum().clamp(min=1e-3)
