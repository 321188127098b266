"""How far a row's noise is from a wanted one, as a function that ends with its gradient."""

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from scumble.arrays import Floats
from scumble.engine import ModelInfo
from scumble_engines.torch.controls import ControlBus
from scumble_engines.torch.losses import GuidedUNet, gradient_inputs
from scumble_engines.torch.ported import PortedUNet, signature_of

__all__ = ["MatchedUNet", "with_gradient"]


class MatchedUNet(nn.Module):
    """A UNet, and the derivative of weight * mean((noise - match.noise)^2) for each row.

    Args:
        ported: the UNet, with the plain ports as inputs and `noise` as its one output.
    """

    def __init__(self, ported: PortedUNet) -> None:
        super().__init__()
        self.ported = ported
        self.inputs = ("match.noise", "match.weight", *ported.signature.inputs)

    def forward(
        self, wanted: Tensor, weight: Tensor, *given: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the derivative by the sample, the losses (rows,), the derivative by the text.

        Args:
            wanted: `match.noise`, (rows, channels, height, width).
            weight: `match.weight`, (rows,).
            given: the plain ports, in the order of the signature.

        Raises:
            ControlError: an attention site that did not run under the controls.
        """
        ports = dict(zip(self.ported.signature.inputs, given, strict=True))
        sample, text = (ports[name].detach().requires_grad_() for name in ("sample", "text"))
        with torch.enable_grad():
            (noise,) = self.ported(*{**ports, "sample": sample, "text": text}.values())
            away = (noise - wanted).square().flatten(1)
            # No row sees another, so weights can wait. As a sum of order one, what goes back
            # through a UNet in half precision does not vanish.
            slopes = torch.autograd.grad(away.sum(), (sample, text))
        scale = weight / away.shape[1]
        by_sample, by_text = (
            slope * scale.to(slope.dtype).view(-1, *(1,) * (slope.dim() - 1)) for slope in slopes
        )
        return by_sample, scale * away.detach().sum(1), by_text


def with_gradient(
    unet: nn.Module, bus: ControlBus, info: ModelInfo, ports: Mapping[str, object]
) -> GuidedUNet | MatchedUNet:
    """Return a UNet as the function whose gradient these ports ask for.

    Args:
        unet: with a `PortProcessor` at every attention site.
        bus: what those processors read.
        info: of the model.
        ports: of the gradient: a loss on maps, or a match.
    """
    height, width = cast("Floats", ports["sample"]).shape[-2:]
    latent, added = (height, width), info.pooled is not None
    if "match.noise" in ports:
        plain = signature_of(frozenset(), info.sites, latent, frozenset(), added)
        return MatchedUNet(PortedUNet(unet, bus, plain))
    seen = frozenset(map(int, np.flatnonzero(cast("Floats", ports["loss.sites"]))))
    return GuidedUNet(unet, bus, gradient_inputs(bus, added), latent, seen)
