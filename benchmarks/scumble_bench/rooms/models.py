"""The networks of the demo checkpoint, and the diffusers folder that they are saved as."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scumble_bench.rooms.tokenizer import WINDOW
from scumble_export.components import TextEncoder

LOGVAR = -12.0
"""The fixed log-variance that the VAE's encoder reports: its mean is the latent."""

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}


class Networks(NamedTuple):
    """The three networks of the checkpoint, as diffusers and transformers build them."""

    vae: Any
    text_encoder: Any
    unet: Any


def build_vae() -> Any:
    """Builds an `AutoencoderKL` whose posterior has a tiny fixed variance."""
    from diffusers import AutoencoderKL

    # diffusers annotates its tuples as of one element.
    vae: Any = cast("Any", AutoencoderKL)(
        block_out_channels=(16, 32, 64, 96),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        sample_size=128,
    )
    pass_colours_on(vae)
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = LOGVAR
    return vae


def pass_colours_on(vae: Any) -> None:
    """Lets colours through an untrained autoencoder: averaged on the way in, spread on the way out.

    It starts no better than PyTorch's own start, but its latents hold more of the colours and
    gradients reach them: 120 steps bring the squared error to 0.070 from here, to 0.098 from there.
    """
    centre = torch.zeros(3, 3)
    centre[1, 1] = 1
    quarter = torch.zeros(3, 3)
    quarter[:2, :2] = 0.25
    ramp = torch.tensor([1.0, 2.0, 1.0])
    spread = ramp[:, None] * ramp / 16
    for part in (vae.encoder, vae.decoder):
        _near_identity(part.conv_in, centre, 0.5)
        with torch.no_grad():
            # Two constant channels keep the normalisations from taking the colours' scale away.
            part.conv_in.bias[-2:] = torch.tensor([-3.0, 3.0])
            part.conv_norm_out.bias.fill_(1.0)
        for module in part.modules():
            match type(module).__name__:
                case "ResnetBlock2D":
                    _fade(module.conv2, 0.1)
                    if module.conv_shortcut is not None:
                        _near_identity(module.conv_shortcut, torch.ones(1, 1), 0.5)
                case "Downsample2D":
                    _near_identity(module.conv, quarter, 0.1)
                case "Upsample2D":
                    _near_identity(module.conv, spread, 0.1)
                case "Attention":
                    _fade(module.to_out[0], 0.1)
                case _:
                    pass
    for convolution in (vae.quant_conv, vae.post_quant_conv):
        _near_identity(convolution, torch.ones(1, 1), 0.0)


@torch.no_grad()
def _near_identity(convolution: Any, kernel: Tensor, keep: float) -> None:
    """Keeps a share of the random weights and adds a kernel from each channel to itself."""
    _fade(convolution, keep)
    for channel in range(min(convolution.weight.shape[:2])):
        convolution.weight[channel, channel] += kernel


@torch.no_grad()
def _fade(layer: Any, keep: float) -> None:
    layer.weight.mul_(keep)
    layer.bias.zero_()


def build_text_encoder(vocabulary: int) -> Any:
    """Builds a small `CLIPTextModel`; the two special tokens end the vocabulary, as in CLIP."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=512,
        projection_dim=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    return CLIPTextModel(config)


def build_unet() -> Any:
    """Builds a `UNet2DConditionModel` with attention at 16x16, 8x8 and, in the middle, 4x4."""
    from diffusers import UNet2DConditionModel

    return cast("Any", UNet2DConditionModel)(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(48, 96, 144),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=128,
        # What diffusers calls the head dimension is the number of heads in SD1.x: 16 wide each.
        attention_head_dim=(3, 6, 9),
        norm_num_groups=16,
    )


def encode_text(text_encoder: Any, tokens: Tensor) -> Tensor:
    """Runs a `CLIPTextModel` (rows, tokens) -> (rows, tokens, width) as the exporter traces it.

    The model's own forward cannot be captured in a CUDA graph with some releases of transformers.
    """
    return TextEncoder(text_encoder)(tokens)


def scheduler() -> Any:
    """Builds the `DDIMScheduler` of the checkpoint."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(**SCHEDULER)


def pipeline(networks: Networks, tokenizer_folder: Path) -> Any:
    """Joins networks and tokenizer to a `StableDiffusionPipeline` without a safety checker."""
    from diffusers import StableDiffusionPipeline
    from transformers import CLIPTokenizer

    joined: Any = StableDiffusionPipeline(
        vae=networks.vae,
        text_encoder=networks.text_encoder,
        tokenizer=CLIPTokenizer.from_pretrained(tokenizer_folder),
        unet=networks.unet,
        scheduler=scheduler(),
        safety_checker=None,  # type: ignore[arg-type]
        feature_extractor=None,  # type: ignore[arg-type]
        requires_safety_checker=False,
    )
    joined.set_progress_bar_config(disable=True)
    return joined


def save_folder(folder: Path, networks: Networks, tokenizer_folder: Path) -> None:
    """Writes a diffusers folder with float16 safetensors, each file replaced in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        draft = Path(scratch)
        pipeline(networks, tokenizer_folder).save_pretrained(draft, safe_serialization=True)
        for weights in draft.glob("*/*.safetensors"):
            tensors = {
                name: tensor.to(torch.float16).contiguous()
                if tensor.is_floating_point()
                else tensor
                for name, tensor in load_file(weights).items()
            }
            if weights.parent.name == "text_encoder":
                tensors = {
                    name if name.startswith("text_model.") else f"text_model.{name}": tensor
                    for name, tensor in tensors.items()
                    if not name.endswith("position_ids")
                }
            save_file(tensors, weights, metadata={"format": "pt"})
        _state_the_width(draft / "text_encoder" / "config.json")
        for name in ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(tokenizer_folder / name, draft / "tokenizer" / name)
        _drop_paths(draft)
        for source in sorted(path for path in draft.rglob("*") if path.is_file()):
            target = folder / source.relative_to(draft)
            target.parent.mkdir(parents=True, exist_ok=True)
            source.chmod(0o644)
            os.replace(source, target)


def _state_the_width(path: Path) -> None:
    # transformers 5 loads in the width that the configuration names; the file holds float16.
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("dtype", None)
    config["torch_dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _drop_paths(folder: Path) -> None:
    for path in folder.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
