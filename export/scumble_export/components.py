"""The graphs beside the UNet: text encoder, and both halves of the autoencoder."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Decoder", "Encoder", "TextEncoder"]


class TextEncoder(nn.Module):
    """Token ids (prompts, tokens) to embeddings (prompts, tokens, features).

    The layers are called one by one: the model's own forward builds its causal mask in a way that
    differs between releases and does not always trace. Parity with it is part of the export.
    """

    def __init__(self, text_encoder: Any) -> None:
        super().__init__()
        self.model = getattr(text_encoder, "text_model", text_encoder)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the last hidden state, normalised."""
        states: Tensor = self.model.embeddings(input_ids=ids)
        rows, length, width = states.shape
        for layer in self.model.encoder.layers:
            attention = layer.self_attn
            normal = layer.layer_norm1(states)
            query, key, value = (
                projection(normal).view(rows, length, attention.num_heads, -1).transpose(1, 2)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            states = states + attention.out_proj(mixed.transpose(1, 2).reshape(rows, length, width))
            states = states + layer.mlp(layer.layer_norm2(states))
        return self.model.final_layer_norm(states)


class Encoder(nn.Module):
    """Pixels (1, 3, height, width) in -1 to 1 to the scaled posterior mean."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = float(vae.config["scaling_factor"])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the scaled latent, (1, channels, height / factor, width / factor)."""
        moments = self.vae.encoder(pixels)
        if self.vae.quant_conv is not None:
            moments = self.vae.quant_conv(moments)
        return torch.chunk(moments, 2, dim=1)[0] * self.scale


class Decoder(nn.Module):
    """Scaled latents (n, channels, height, width) to pixels, about -1 to 1."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.scale = float(vae.config["scaling_factor"])

    def forward(self, latents: Tensor) -> Tensor:
        """Return (n, 3, height x factor, width x factor)."""
        latents = latents / self.scale
        if self.vae.post_quant_conv is not None:
            latents = self.vae.post_quant_conv(latents)
        return self.vae.decoder(latents)
