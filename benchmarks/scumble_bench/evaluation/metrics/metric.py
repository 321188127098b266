"""The metrics of PIE-Bench by name: what each looks at, what it needs, its scale in tables.

`loading.load_metrics` makes them. A metric is NaN where it is not defined for a picture;
`averages.mean` leaves such rows out.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from scumble.pixels import Pixels

__all__ = ["DEFAULT", "FILES", "METRICS", "MaskPixels", "Metric", "MetricFacts"]

MaskPixels = NDArray[np.bool_] | NDArray[np.uint8]
"""(h, w) bool, or uint8 of 0 and 1 or of 0 and 255; where it is not 0 the picture was to change."""

DEFAULT = "default"
"""Stands for every metric whose files are there."""

FILES = {
    "clip": "a folder with a CLIP model, such as a copy of openai/clip-vit-large-patch14",
    "lpips": "the file of torchvision's SqueezeNet 1.1, such as squeezenet1_1-b8a52dc0.pth",
    "dino": "a folder with a DINO ViT, such as a copy of facebook/dino-vitb8",
}
"""What a metric can need, none of which comes with Scumble."""


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What is known of a metric before anything is loaded.

    Attributes:
        name: as it stands in rows and is asked for.
        label: as it stands over a column of a table, with its scale.
        needs: names out of `FILES`.
        scale: a value is multiplied by it for tables; rows hold the value itself.
        better: the direction in which an edit is better.
        part: the part of the picture that is looked at.
    """

    name: str
    label: str
    needs: tuple[str, ...]
    scale: float
    better: Literal["higher", "lower"]
    part: Literal["whole", "unedited", "edited"]


METRICS = {
    facts.name: facts
    for facts in (
        MetricFacts("structure", "Structure x1e3", ("dino",), 1e3, "lower", "whole"),
        MetricFacts("psnr", "PSNR", (), 1.0, "higher", "unedited"),
        MetricFacts("lpips", "LPIPS x1e3", ("lpips",), 1e3, "lower", "unedited"),
        MetricFacts("mse", "MSE x1e4", (), 1e4, "lower", "unedited"),
        MetricFacts("ssim", "SSIM x1e2", (), 1e2, "higher", "unedited"),
        MetricFacts("clip_whole", "CLIP whole", ("clip",), 1.0, "higher", "whole"),
        MetricFacts("clip_edited", "CLIP edited", ("clip",), 1.0, "higher", "edited"),
    )
}
"""Every metric by name, in the order of the published table."""


class Metric(Protocol):
    """Measures one edit."""

    @property
    def name(self) -> str:
        """The name in `METRICS`."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Names out of `FILES`."""
        ...

    @property
    def scale(self) -> float:
        """A value is multiplied by it for tables."""
        ...

    def __call__(self, source: Pixels, edited: Pixels, mask: MaskPixels, prompt: str) -> float:
        """Measure an edit.

        Args:
            source: (h, w, 3), the picture that was edited.
            edited: (h, w, 3), what came out.
            mask: (h, w), not 0 where the picture was to change.
            prompt: what the edited picture should show, without brackets.

        Returns:
            The unscaled value; NaN where it is not defined for this picture.

        Raises:
            OptionError: shapes or types do not fit.
        """
        ...
