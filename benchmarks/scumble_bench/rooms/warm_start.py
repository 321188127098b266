"""A training run that goes on from a finished checkpoint, when its own states are gone."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import json
import shutil
from pathlib import Path
from typing import Any

import torch

__all__ = ["history", "load_networks", "prepare"]

NETWORKS = "start.pt"


def prepare(checkpoint: Path, work: Path) -> float:
    """Puts a checkpoint's tokenizer, autoencoder and networks where the stages look for them.

    The optimiser starts anew; latents stay valid, for the autoencoder is taken over as it is.

    Returns:
        The standard deviation of latents that the autoencoder was saved with.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel

    shutil.copytree(checkpoint / "tokenizer", work / "tokenizer", dirs_exist_ok=True)
    vae: Any = AutoencoderKL.from_pretrained(checkpoint / "vae", torch_dtype=torch.float32)
    average = [parameter.detach() for parameter in vae.parameters()]
    torch.save({"average": average, "seconds": 0.0, "steps": 0}, work / "vae.pt")
    unet: Any = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=torch.float32)
    text: Any = CLIPTextModel.from_pretrained(checkpoint / "text_encoder", dtype=torch.float32)
    networks = {"unet": unet.state_dict(), "text_encoder": text.state_dict()}
    torch.save(networks, work / NETWORKS)
    return 1 / float(vae.config["scaling_factor"])


def history(checkpoint: Path) -> Any:
    """Returns what the checkpoint's own training left in `training.json`."""
    path = checkpoint / "training.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def load_networks(work: Path, text_encoder: Any, unet: Any) -> bool:
    """Loads the networks that `prepare` left, if it did."""
    path = work / NETWORKS
    if not path.exists():
        return False
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    text_encoder.load_state_dict(content["text_encoder"])
    unet.load_state_dict(content["unet"])
    return True
