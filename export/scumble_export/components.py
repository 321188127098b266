"""The graphs beside the UNet: text encoder, and both halves of the autoencoder."""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Decoder", "Encoder", "PairedTextEncoder", "TextEncoder"]

OLD_END = 2


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
        return self.model.final_layer_norm(self.hidden(ids, len(self.model.encoder.layers)))

    def hidden(self, ids: Tensor, layers: int) -> Tensor:
        """Return the state after the first few layers, as it is."""
        return self.further(self.model.embeddings(input_ids=ids), 0, layers)

    def further(self, states: Tensor, first: int, last: int) -> Tensor:
        """Return a state carried through the layers from `first` to before `last`."""
        rows, length, width = states.shape
        for layer in self.model.encoder.layers[first:last]:
            attention = layer.self_attn
            normal = layer.layer_norm1(states)
            query, key, value = (
                projection(normal).view(rows, length, attention.num_heads, -1).transpose(1, 2)
                for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            states = states + attention.out_proj(mixed.transpose(1, 2).reshape(rows, length, width))
            states = states + layer.mlp(layer.layer_norm2(states))
        return states


class PairedTextEncoder(nn.Module):
    """Token ids of two tokenizers to what SDXL's UNet is told, as `TextEncoders.encode` does."""

    def __init__(self, first: Any, second: Any) -> None:
        super().__init__()
        self.first = TextEncoder(first)
        self.second = TextEncoder(second)
        self.projection = second.text_projection
        self.end = int(second.config.eos_token_id)

    def forward(self, ids: Tensor, ids_2: Tensor) -> tuple[Tensor, Tensor]:
        """Return (prompts, tokens, features) states and (prompts, pooled) text."""
        one, other = self.first, self.second
        depth = len(other.model.encoder.layers)
        before = other.hidden(ids_2, depth - 1)
        last = other.model.final_layer_norm(other.further(before, depth - 1, depth))
        # CLIP's old files say 2, and mean the largest id, which its end token has.
        ends = ids_2 if self.end == OLD_END else (ids_2 == self.end)
        place = ends.to(torch.int32).argmax(dim=1)
        # One token of each prompt, as a product: no runtime lacks that.
        chosen = nn.functional.one_hot(place, ids_2.shape[1]).to(last.dtype)
        pooled = self.projection((chosen[:, None] @ last)[:, 0])
        penultimate = one.hidden(ids, len(one.model.encoder.layers) - 1)
        return torch.cat([penultimate, before], dim=-1), pooled


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
