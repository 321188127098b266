"""A checkpoint of real classes at tiny size, with random weights.

Tests reach it through fixtures, or by `runpy`: the tests are no package.
"""

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from scumble_bench.rooms.models import SCHEDULER
from scumble_bench.rooms.tokenizer import WINDOW, save_tokenizer

SENTENCE = "a red blue fluffy cat dog sofa vase purple carpet picture on in room with and sleepy"
WIDTH = 32

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": (2, 4),
    "norm_num_groups": 8,
}

# Attention at one level and in the middle, 8 in all: half the time to trace.
SMALL: dict[str, Any] = {
    "sample_size": 16,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}

# The shape of Stable Diffusion 2.1, whose UNet predicts v.
SD21: dict[str, Any] = {**SMALL, "use_linear_projection": True, "upcast_attention": True}

# The shape of Stable Diffusion XL: text of two encoders, attention of two depths, none at stride 1.
SECOND_WIDTH = 24
POOLED = 20
SDXL: dict[str, Any] = {
    **SD21,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2),
    "upcast_attention": None,
    "cross_attention_dim": WIDTH + SECOND_WIDTH,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": POOLED + 6 * 8,
}


def write_checkpoint(folder: Path, unet: dict[str, Any] | None = None, **scheduler: object) -> Path:
    """Write a diffusers folder: two levels and a middle, 14 attentions, text window of 40.

    Args:
        folder: to be made.
        unet: what differs from `UNET`.
        scheduler: what differs from the demo checkpoint's.
    """
    state = torch.get_rng_state()
    torch.manual_seed(7)
    made = UNet2DConditionModel(**{**UNET, **(unet or {})})
    # As initialised, attention is nearly uniform and every map alike; trained ones are not.
    for path, module in made.named_modules():
        if path.endswith(("to_q", "to_k")):
            cast("Any", module).weight.data *= 3.0
    made.save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=cast("Any", (8, 16)),
        down_block_types=cast("Any", ("DownEncoderBlock2D",) * 2),
        up_block_types=cast("Any", ("UpDecoderBlock2D",) * 2),
        norm_num_groups=4,
        sample_size=64,
    )
    vae.save_pretrained(folder / "vae")
    save_tokenizer(folder / "tokenizer", SENTENCE.split())
    CLIPTextModel(_text(folder, WIDTH)).save_pretrained(folder / "text_encoder")
    DDIMScheduler(**{**SCHEDULER, **scheduler}).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    torch.set_rng_state(state)
    return folder


def write_paired_checkpoint(folder: Path, unet: dict[str, Any] | None = None) -> Path:
    """Write a diffusers folder of SDXL's shape: 8 attentions, two text encoders, as in its files.

    Args:
        folder: to be made.
        unet: what differs from `SDXL`.
    """
    write_checkpoint(folder, unet={**SDXL, **(unet or {})})
    state = torch.get_rng_state()
    torch.manual_seed(8)
    second = CLIPTextModelWithProjection(_text(folder, SECOND_WIDTH))
    second.save_pretrained(folder / "text_encoder_2")
    save_tokenizer(folder / "tokenizer_2", SENTENCE.split())
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / "tokenizer_2" / name
        path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"pad_token": "!"}))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionXLPipeline"}')
    torch.set_rng_state(state)
    return folder


def _text(folder: Path, width: int) -> CLIPTextConfig:
    """Return the configuration of a text encoder for the tokenizer that lies in a folder."""
    vocabulary = len(json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8")))
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=64,
        projection_dim=POOLED if width == SECOND_WIDTH else width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
