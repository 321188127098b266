"""How near the kept pixels are to the source: PSNR, SSIM and mean squared error.

All three by torchmetrics, on float32 pictures of 0 to 1 and with a range of 1.
"""

# torchmetrics leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false

import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)
from torchmetrics.functional.regression import mean_squared_error

from scumble_bench.evaluation.metrics.pictures import Floats

__all__ = ["mse", "psnr", "rows_of", "ssim"]


def psnr(source: Floats, edited: Floats) -> float:
    """Peak signal-to-noise ratio in dB of two pictures (h, w, 3); infinite if they are equal."""
    return float(peak_signal_noise_ratio(rows_of(edited), rows_of(source), data_range=1.0))


def ssim(source: Floats, edited: Floats, *, cropped: bool) -> float:
    """Structural similarity of two pictures (h, w, 3).

    Gaussian window of 11 pixels, sigma 1.5, k1 .01, k2 .03; mean over pixels and colours
    (Wang et al., 2004).

    Args:
        source: of 0 to 1.
        edited: of 0 to 1.
        cropped: leave out the border of 5 pixels where the window does not fit, as the paper does
            and torchmetrics did until 2024; else pictures are mirrored there.
    """
    found = structural_similarity_index_measure(
        rows_of(edited),
        rows_of(source),
        gaussian_kernel=True,
        sigma=1.5,
        kernel_size=11,
        data_range=1.0,
        k1=0.01,
        k2=0.03,
        return_full_image=True,
    )
    everywhere = found[1]  # (1, 3, h, w), the mean being the other
    return float((everywhere[..., 5:-5, 5:-5] if cropped else everywhere).mean())


def mse(source: Floats, edited: Floats) -> float:
    """Mean squared error of two pictures (h, w, 3) over all pixels and colours."""
    return float(mean_squared_error(rows_of(edited), rows_of(source)))


def rows_of(picture: Floats) -> torch.Tensor:
    """A picture (h, w, 3) as torch's (1, 3, h, w), in memory of its own."""
    return torch.tensor(picture).permute(2, 0, 1)[None].contiguous()
