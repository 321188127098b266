"""The structure distance: how differently two pictures resemble themselves, as DINO sees them.

Keys of the last attention are compared with each other in each picture, and the two tables of
cosines by their mean squared error. Tumanyan et al., "Splicing ViT Features for Semantic Appearance
Transfer", 2022, section 3.2; Caron et al., "Emerging Properties in Self-Supervised Vision
Transformers", 2021.
"""

# transformers leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import ViTModel

from scumble.pixels import Pixels
from scumble_bench.evaluation.metrics.folders import load_whole
from scumble_bench.evaluation.metrics.protocol import MetricProtocol

__all__ = ["Dino", "scaled_size", "self_similarity"]

SHORTER, LONGEST = 224, 480  # pixels of the sides, once made smaller
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values of 0 to 1
KEYS = (".k_proj", ".attention.key")  # what transformers 5 calls the layer, and 4
SMALLEST_NORM = 1e-8


class Dino:
    """The structure distance of two pictures, by a ViT that lies in a folder.

    Pictures that are not square have their position embeddings interpolated by transformers, which
    differs a little from DINO's own code; square ones of weights for 224 pixels need none.

    Args:
        folder: with a ViT as transformers saves it, such as a copy of facebook/dino-vitb8.
        protocol: says whether values are 0 to 255 or 0 to 1, and how pictures are made smaller.
        device: torch's name of a device.

    Raises:
        ModelError: the folder is not there, or holds no ViT or not all of its weights.
    """

    def __init__(
        self, folder: str | Path, protocol: MetricProtocol, *, device: str = "cpu"
    ) -> None:
        whole = partial(ViTModel.from_pretrained, add_pooling_layer=False)
        (model,) = load_whole(Path(folder), "facebook/dino-vitb8", (), whole)
        self._model = model.to(device)
        self._protocol = protocol
        self._device = device
        size: int | tuple[int, int] = self._model.config.image_size
        self._own = (size, size) if isinstance(size, int) else tuple(size)
        self._keys = [
            module for name, module in self._model.named_modules() if name.endswith(KEYS)
        ][-1]

    def __call__(self, source: Pixels, edited: Pixels) -> float:
        """The structure distance of two pictures (h, w, 3); 0 if they are equal."""
        with torch.inference_mode():
            one, two = (self_similarity(self.keys(picture)) for picture in (source, edited))
            return float(functional.mse_loss(two, one))

    def keys(self, picture: Pixels) -> Tensor:
        """Keys of the last attention for a picture (h, w, 3), heads side by side: (tokens, width).

        The first row is that of the class token.
        """
        pixels = self.inputs(picture)
        caught: list[Tensor] = []

        def catch(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            caught.append(output)

        handle = self._keys.register_forward_hook(catch)
        try:
            other = tuple(pixels.shape[2:]) != self._own
            self._model(pixel_values=pixels, interpolate_pos_encoding=other)
        finally:
            handle.remove()
        return caught[0][0]

    def inputs(self, picture: Pixels) -> Tensor:
        """A picture (h, w, 3), made smaller and normalised: (1, 3, h', w')."""
        pixels = torch.tensor(picture).permute(2, 0, 1)[None].to(self._device, torch.float32)
        if self._protocol.dino_top == 1.0:
            pixels = pixels / 255
        pixels = functional.interpolate(
            pixels,
            scaled_size(picture.shape[0], picture.shape[1]),
            mode="bilinear",
            align_corners=False,
            antialias=self._protocol.dino_antialias,
        )
        mean, std = (pixels.new_tensor(three)[:, None, None] for three in (MEAN, STD))
        return (pixels - mean) / std


def scaled_size(height: int, width: int) -> tuple[int, int]:
    """Height and width for DINO: the shorter side 224 pixels, unless the longer would exceed 480.

    Rounded down at each step, as torchvision's `Resize(224, max_size=480)` does.
    """
    short, long = min(height, width), max(height, width)
    new_short, new_long = SHORTER, int(SHORTER * long / short)
    if new_long > LONGEST:
        new_short, new_long = int(LONGEST * new_short / new_long), LONGEST
    return (new_short, new_long) if height <= width else (new_long, new_short)


def self_similarity(keys: Tensor) -> Tensor:
    """Cosines of every key with every other, (tokens, tokens), for keys (tokens, width)."""
    norms = keys.norm(dim=1, keepdim=True)
    return keys @ keys.T / (norms @ norms.T).clamp(min=SMALLEST_NORM)
