"""Blended Latent Diffusion (Avrahami, Fried and Lischinski 2023, arXiv:2206.02779): edit in a mask.

The run starts part-way from the picture with noise on it. After every step, what lies outside the
mask is replaced by the picture with as much noise on it as is left (section 4.1, algorithm 1), so
that the inside grows to fit and the outside ends as it was. The optional fine-tuning of the decoder
(section 4.2) trains, and is left out: the outside is as good as the autoencoder.

The published code blends with the level before the step, one too noisy; here it is the level that
the step arrived at.

Changes: where the run starts, and the targets' latents outside the mask. Leaves alone: attention,
text, guidance.
"""

from typing import Annotated

import numpy as np

from scumble import (
    Field,
    Floats,
    OptionError,
    Options,
    Plan,
    Plugin,
    RunView,
    StepView,
    Trajectory,
    Trial,
    Watch,
    hookimpl,
    noised_trajectory,
)

__all__ = ["BlendedLatentDiffusion", "BlendedLatentDiffusionOptions"]


class BlendedLatentDiffusionOptions(Options):
    """Options of Blended Latent Diffusion.

    Attributes:
        blending_start: share of the steps that are not taken; 0 keeps nothing inside the mask.
        fresh: draws noise for the outside anew at each step, as published; else it is one noise.
    """

    blending_start: Annotated[float, Field(ge=0, le=1)] = 0.25
    fresh: bool = True


class BlendedLatentDiffusion(Plugin):
    """Blended Latent Diffusion: draw anew inside a mask, blend the picture back outside."""

    options_type = BlendedLatentDiffusionOptions
    trial = Trial(masks=("",))
    options: BlendedLatentDiffusionOptions

    def takes_mask(self, name: str) -> bool:
        """Edit inside the one mask that has no name."""
        return not name

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the start, and ask that the source's latents be kept."""
        if run.image is None:
            raise OptionError("blended_latent_diffusion edits a picture; give one.")
        if not run.targets:
            raise OptionError("blended_latent_diffusion needs a target prompt.")
        if run.mask is None:
            raise OptionError(
                "blended_latent_diffusion needs a mask, white where the picture may change."
            )
        start = int(run.steps * self.options.blending_start + 1e-9)
        return Plan((Watch(0, np.ones(run.steps, dtype=bool)),), start=start)

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the picture with noise on it, at every level."""
        return noised_trajectory(run, fresh=self.options.fresh)

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> dict[int, Floats]:
        """Blend: x = mask x + (1 - mask) x_source, both at the level that the step arrived at."""
        assert run.mask is not None
        inside = run.mask > 0
        return {
            picture: np.where(inside, step.latents[picture], step.latents[0])
            for picture in range(1, len(run.targets) + 1)
        }
