"""The published rows of PIE-Bench, to be set beside one's own.

From the comparison in the repository of PnP Inversion (Ju et al., ICLR 2024): means over 700
pictures. Values are as printed there, with its scales: structure and LPIPS times 1e3, MSE times
1e4, SSIM times 1e2. Null-text inversion was run on two GPUs; its row is the mean of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PICTURES", "PUBLISHED", "Published", "note"]

PICTURES = 700
ORDER = ("structure", "psnr", "lpips", "mse", "ssim", "clip_whole", "clip_edited")


@dataclass(frozen=True, slots=True)
class Published:
    """A row of the published table.

    Attributes:
        inversion: as it is called there.
        method: likewise.
        model: the checkpoint it was run on.
        scaled: metric -> mean, with the table's scale.
        preset: the method and the inversion here that do the same; None where there is none.
    """

    inversion: str
    method: str
    model: str
    scaled: Mapping[str, float]
    preset: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        """As it stands in tables."""
        return f"{self.method}, {self.inversion} (published)"


def _row(
    inversion: str,
    method: str,
    figures: tuple[float, ...],
    preset: tuple[str, str] | None = None,
    model: str = "Stable Diffusion 1.4",
) -> Published:
    return Published(inversion, method, model, dict(zip(ORDER, figures, strict=True)), preset)


SD15 = "Stable Diffusion 1.5"
P2P, MASACTRL, ZERO, PNP = "P2P", "MasaCtrl", "P2P-Zero", "PnP"

PUBLISHED: tuple[Published, ...] = (
    _row("DDIM", P2P, (69.43, 17.87, 208.80, 219.88, 71.14, 25.01, 22.44), ("pie-p2p", "ddim")),
    _row("NTI", P2P, (13.44, 27.03, 60.67, 35.86, 84.11, 24.75, 21.86), ("pie-p2p", "null_text")),
    _row("NPI", P2P, (16.17, 26.21, 69.01, 39.73, 83.40, 24.61, 21.87),
         ("pie-p2p", "negative_prompt")),
    _row("StyleDiffusion", P2P, (11.65, 26.05, 66.10, 38.63, 83.42, 24.78, 21.72)),
    _row("Direct", P2P, (11.65, 27.22, 54.55, 32.86, 84.76, 25.02, 22.10), ("pie-p2p", "direct")),
    _row("DDIM", MASACTRL, (28.38, 22.17, 106.62, 86.97, 79.67, 23.96, 21.16),
         ("pie-masactrl", "ddim")),
    _row("Direct", MASACTRL, (24.70, 22.64, 87.94, 81.09, 81.33, 24.38, 21.35),
         ("pie-masactrl", "direct")),
    _row("DDIM", ZERO, (61.68, 20.44, 172.22, 144.12, 74.67, 22.80, 20.54)),
    _row("Direct", ZERO, (49.22, 21.53, 138.98, 127.32, 77.05, 23.31, 21.05)),
    _row("DDIM", PNP, (28.22, 22.28, 113.46, 83.64, 79.05, 25.41, 22.55),
         ("pie-pnp", "ddim"), SD15),
    _row("Direct", PNP, (24.29, 22.46, 106.06, 80.45, 79.68, 25.41, 22.62),
         ("pie-pnp", "direct"), SD15),
)  # fmt: skip
"""The published table, in its order."""


def note(model: str, pictures: int) -> str:
    """Return, in a sentence, what keeps one's own rows from being compared with the published.

    Args:
        model: as it was asked for here.
        pictures: edited here.
    """
    return (
        f"The published rows are means over {PICTURES} pictures of PIE-Bench on Stable Diffusion "
        f"1.4 (PnP: 1.5), these over {pictures} on '{model}': compare them only if the checkpoint, "
        "the pictures and the protocol are the same."
    )
