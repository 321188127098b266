"""How the published figures were measured, quirk by quirk, as named options.

A figure can only be set beside a published one if it was measured in the same way, faults included.
Each fault has a name here, and the names are part of a result. Source: the evaluation script of
PnP Inversion (Ju et al., "PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code",
ICLR 2024), which also names its environment: torch 1.12.1 and torchvision 0.13.1, whose `Resize` of
tensors had no low-pass filter by default. Until September 2024 torchmetrics cropped SSIM (its pull
request 2721).
"""

from dataclasses import dataclass

from scumble.errors import OptionError

__all__ = ["OPTIONS", "PROTOCOLS", "MetricProtocol", "read_protocol"]

OPTIONS = {
    "jpeg-75": "the edited picture goes through JPEG of quality 75 before anything is measured",
    "dino-255": "DINO sees values of 0 to 255 where its weights were trained on 0 to 1",
    "dino-aliased": "pictures are made smaller for DINO without a low-pass filter",
    "ssim-cropped": "SSIM leaves out a border of 5 pixels",
}
"""Every quirk with what it does."""

PROTOCOLS: dict[str, frozenset[str]] = {
    "pie-bench": frozenset(OPTIONS),
    "plain": frozenset(),
}
"""Names for sets of quirks: as published, and without any."""


@dataclass(frozen=True, slots=True)
class MetricProtocol:
    """A set of quirks.

    Attributes:
        options: names out of `OPTIONS`.
    """

    options: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """`pie-bench`, `plain`, or the options with commas; `read_protocol` reads it back."""
        for name, options in PROTOCOLS.items():
            if options == self.options:
                return name
        return ",".join(option for option in OPTIONS if option in self.options)

    @property
    def jpeg_quality(self) -> int | None:
        """The quality of the JPEG that the edited picture goes through; None for no JPEG."""
        return 75 if "jpeg-75" in self.options else None

    @property
    def dino_top(self) -> float:
        """The value of white as DINO's normalisation sees it: 255 or 1."""
        return 255.0 if "dino-255" in self.options else 1.0

    @property
    def dino_antialias(self) -> bool:
        """Whether pictures are low-pass filtered when they are made smaller for DINO."""
        return "dino-aliased" not in self.options

    @property
    def ssim_cropped(self) -> bool:
        """Whether SSIM leaves out the border in which its window does not fit."""
        return "ssim-cropped" in self.options


def read_protocol(text: str) -> MetricProtocol:
    """The protocol of a name, or of options with commas between them.

    Raises:
        OptionError: a name is neither a protocol nor an option.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    options: set[str] = set()
    for name in names:
        if name in OPTIONS:
            options.add(name)
        elif name in PROTOCOLS and len(names) == 1:
            options |= PROTOCOLS[name]
        else:
            raise OptionError(
                f"there is no way of measuring named {text!r}; write one of "
                f"{', '.join(PROTOCOLS)}, or options with commas between them: "
                f"{', '.join(OPTIONS)}."
            )
    if not names:
        raise OptionError(f"no way of measuring was named; write one of {', '.join(PROTOCOLS)}.")
    return MetricProtocol(frozenset(options))
