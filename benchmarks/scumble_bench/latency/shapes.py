"""A checkpoint with the shapes of Stable Diffusion 1.5 and random weights, to time steps with.

Its UNet has SD1.5's 860 million parameters; its native picture is 256x256, so that a step can be
measured on a CPU and maps are read at 16x16. The text encoder has SD1.5's window and width in one
layer, and the autoencoder is tiny: neither is timed.
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel

from scumble_bench.demo_edits import EDITS, PICTURES
from scumble_bench.rooms.models import SCHEDULER
from scumble_bench.rooms.tokenizer import save_tokenizer, words_of

__all__ = ["SD15", "write_shape"]

SD15: Mapping[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
WINDOW = 77
DONE = "model_index.json"


def write_shape(folder: Path, unet: Mapping[str, Any] = SD15) -> Path:
    """Write the checkpoint, unless it is there; 3.4 GB for SD1.5.

    Args:
        folder: to be made; whole once it has a `model_index.json`.
        unet: configuration of the UNet.
    """
    if (folder / DONE).is_file():
        return folder
    state = torch.get_rng_state()
    torch.manual_seed(15)
    # Heads are counted as SD1.5's file counts them: 8 at each level, whatever the width.
    UNet2DConditionModel(**unet).save_pretrained(folder / "unet")
    levels = len(unet["block_out_channels"])
    AutoencoderKL(
        block_out_channels=cast("Any", (8,) * levels),
        down_block_types=cast("Any", ("DownEncoderBlock2D",) * levels),
        up_block_types=cast("Any", ("UpDecoderBlock2D",) * levels),
        norm_num_groups=4,
        sample_size=8 * unet["sample_size"],
    ).save_pretrained(folder / "vae")
    _write_text(folder, int(unet["cross_attention_dim"]))
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    torch.set_rng_state(state)
    # Last, so that a folder that was left half made is not taken for whole.
    (folder / DONE).write_text('{"_class_name": "StableDiffusionPipeline"}\n', encoding="utf-8")
    return folder


def _write_text(folder: Path, width: int) -> None:
    """Write a tokenizer that knows the demo's words, and a text encoder of one layer."""
    captions = [*(picture.prompt for picture in PICTURES), *(edit.target for edit in EDITS)]
    save_tokenizer(folder / "tokenizer", words_of(captions))
    config = folder / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(config.read_text("utf-8")) | {"model_max_length": WINDOW}
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    vocabulary = len(json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8")))
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=width,
        projection_dim=width,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
