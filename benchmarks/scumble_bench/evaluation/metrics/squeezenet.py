"""SqueezeNet 1.1 up to its classifier, with the weights' names of torchvision.

Iandola et al., "SqueezeNet", 2016; version 1.1 is the authors' lighter one. It is written out here
because LPIPS needs nothing else of torchvision, which is not to be had for every build of torch.
"""

import torch
from torch import Tensor, nn

__all__ = ["CHANNELS", "SqueezeNet"]

CHANNELS = (64, 128, 256, 384, 384, 512, 512)
"""Channels of each output that LPIPS compares."""

TAPS = (1, 4, 7, 9, 10, 11, 12)
"""Numbers of the layers behind which LPIPS compares."""


class Fire(nn.Module):
    """Fewer channels by a 1x1 convolution, then more by a 1x1 and a 3x3 side by side."""

    def __init__(self, channels: int, squeezed: int, each: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, each, 1)
        self.expand3x3 = nn.Conv2d(squeezed, each, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Of (rows, channels, h, w) make (rows, 2 * each, h, w)."""
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], dim=1)


class SqueezeNet(nn.Module):
    """The part of SqueezeNet 1.1 that LPIPS looks at."""

    def __init__(self) -> None:
        super().__init__()
        # Pools have no weights but keep their numbers: the weights' names count them.
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The seven outputs that LPIPS compares, for pictures (rows, 3, h, w)."""
        outputs: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in TAPS:
                outputs.append(x)
        return outputs
