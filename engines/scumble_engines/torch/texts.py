"""The text encoders of a checkpoint: one, or the two whose states SDXL's UNet is told together."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from scumble.errors import ModelError
from scumble.models import Checkpoint
from scumble_engines.torch.loading import load_component

__all__ = ["TextEncoders", "load_text_encoders"]

SIZES = 6
"""Numbers of the port `added.size`, each of which becomes `addition_time_embed_dim` features."""


class TextEncoders(NamedTuple):
    """What turns token ids into what the UNet is told.

    Attributes:
        first: the only one of SD 1.x and 2.x.
        second: of SDXL, beside it.
    """

    first: CLIPTextModel
    second: CLIPTextModelWithProjection | None = None

    @property
    def pooled(self) -> int | None:
        """Width of the pooled text, or None."""
        return None if self.second is None else self.second.text_projection.out_features

    def encode(self, *ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return (prompts, tokens, features) states, and (prompts, pooled) of two encoders.

        One encoder gives its last hidden state, normalised. Of two, the states before the last
        layer stand side by side, as they are (Podell et al. 2023, arXiv:2307.01952, section 2.1),
        and the second's end token, normalised and projected, is the pooled text.

        Args:
            ids: (prompts, tokens) of each encoder's tokenizer.
        """
        if self.second is None:
            return self.first(*ids)[0], None
        first: Any = self.first(ids[0], output_hidden_states=True)
        second: Any = self.second(ids[1], output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return states, cast("Tensor", second.text_embeds)


def load_text_encoders(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device
) -> TextEncoders:
    """Return a checkpoint's text encoders, the second where it has one.

    Raises:
        ModelError: files that cannot be loaded, or lack weights; a UNet that is told something else
            than text, or than text and sizes as SDXL's is.
    """
    first = load_component(CLIPTextModel, checkpoint, "text_encoder", dtype, device)
    texts = TextEncoders(first)
    if (checkpoint.folder / "text_encoder_2").is_dir():
        kind = CLIPTextModelWithProjection
        second = load_component(kind, checkpoint, "text_encoder_2", dtype, device)
        texts = TextEncoders(first, second)
    unet = checkpoint.unet
    taken = unet.get("addition_embed_type"), unet.get("projection_class_embeddings_input_dim")
    given: tuple[str | None, int | None] = (None, None)
    if texts.pooled is not None:
        given = "text_time", texts.pooled + SIZES * int(unet.get("addition_time_embed_dim") or 0)
    if taken != given:
        raise ModelError(
            f"{checkpoint.name!r} tells its UNet {_shown(*taken)} beside the text, and its text "
            f"encoders call for {_shown(*given)}; use a model of the SD 1.x, SD 2.x or SDXL shape."
        )
    return texts


def _shown(kind: object, width: object) -> str:
    return f"{kind} of {width} numbers" if kind else "nothing"
