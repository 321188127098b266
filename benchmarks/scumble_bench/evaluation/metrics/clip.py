"""CLIP similarity: how well a picture fits a prompt, 100 times the cosine and never below 0.

Hessel et al., "CLIPScore", 2021, without that paper's factor; by torchmetrics, whose own loading is
passed by: with transformers 5 it takes what a model returns for a tensor, which it no longer is.
"""

# torchmetrics and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor
from torchmetrics.functional.multimodal import clip_score

from scumble.pixels import Pixels
from scumble_bench.evaluation.metrics.folders import load_whole

__all__ = ["Clip"]


class Clip:
    """The CLIP similarity of pictures and prompts, by a model that lies in a folder.

    Prompts longer than the model's window are cut by torchmetrics, with a warning.

    Args:
        folder: with a CLIP model, its tokenizer and its `preprocessor_config.json`, as transformers
            saves them, such as a copy of openai/clip-vit-large-patch14.
        device: torch's name of a device.

    Raises:
        ModelError: something of it is not there or cannot be loaded.
    """

    def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
        # Resizing by Pillow, as when the published figures were taken; before transformers 5 there
        # was no other way, and it had no name of its own.
        pillow: Any = getattr(transformers, "CLIPImageProcessorPil", None)
        images, tokenizer, model = load_whole(
            Path(folder),
            "openai/clip-vit-large-patch14",
            (
                (pillow or transformers.CLIPImageProcessor).from_pretrained,
                transformers.CLIPTokenizer.from_pretrained,
            ),
            transformers.CLIPModel.from_pretrained,
        )
        self._model = _Features(model.to(device))
        self._processor = _Processor(images, tokenizer)
        self._device = device

    def __call__(self, picture: Pixels, prompt: str) -> float:
        """The similarity, 0 to 100, of a picture (h, w, 3) and a prompt."""
        pixels = torch.tensor(picture).permute(2, 0, 1).to(self._device)
        with torch.inference_mode():
            # A callable, torchmetrics' way to be given a model; the types it names are the real
            # classes, while what it calls is only this much.
            given = cast("Any", lambda: (self._model, self._processor))
            return float(clip_score(pixels, prompt, model_name_or_path=given))


class _Features:
    """A CLIP model as torchmetrics calls it, whose features are tensors in any transformers."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.config = model.config

    def to(self, device: torch.device) -> "_Features":
        self._model.to(device)
        return self

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        return _tensor(self._model.get_image_features(pixel_values=pixel_values))

    def get_text_features(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return _tensor(
            self._model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        )


class _Processor:
    """What prepares pictures and prompts, as torchmetrics calls it.

    It asks for padding in both cases, which pictures have no use for and newer classes refuse.
    """

    def __init__(self, images: Any, tokenizer: Any) -> None:
        self._images = images
        self._tokenizer = tokenizer

    def __call__(
        self,
        *,
        padding: bool,
        return_tensors: str,
        images: Sequence[Tensor] | None = None,
        text: Sequence[str] | None = None,
    ) -> Any:
        if images is not None:
            return self._images(images=list(images), return_tensors=return_tensors)
        return self._tokenizer(list(text or ()), padding=padding, return_tensors=return_tensors)


def _tensor(features: Any) -> Tensor:
    """Return features as transformers 4 gave them; version 5 wraps them."""
    return features if isinstance(features, Tensor) else features.pooler_output
