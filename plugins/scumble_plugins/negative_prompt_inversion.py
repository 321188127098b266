"""Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807).

The unconditional rows see the source prompt. For the source the two halves of guidance are then
equal and cancel, so at any guidance it goes back the way that DDIM inversion came.

Changes: the starting noise, the text of the unconditional rows. Leaves alone: attention, latents
between steps.
"""

from typing import Annotated

import numpy as np

from scumble import (
    Field,
    Floats,
    InversionOptions,
    OptionError,
    Plugin,
    RunView,
    Trajectory,
    ddim_trajectory,
    hookimpl,
)


class NegativePromptOptions(InversionOptions):
    """Options of negative-prompt inversion.

    Attributes:
        blend: how far the unconditional rows' text lies from the source prompt (0) towards the
            run's own negative text (1), along the sphere.
    """

    blend: Annotated[float, Field(ge=0, le=1)] = 0.0


def slerp(one: Floats, other: Floats, share: float) -> Floats:
    """Return what lies between two arrays along the sphere; between parallel ones, on the line."""
    cosine = float((one * other).sum() / (np.linalg.norm(one) * np.linalg.norm(other)))
    angle = float(np.arccos(np.clip(cosine, -1, 1)))
    if np.sin(angle) < 1e-6:
        return (1 - share) * one + share * other
    near, far = np.sin((1 - share) * angle), np.sin(share * angle)
    return (near * one + far * other) / np.sin(angle)


class NegativePromptInversion(Plugin):
    """Tell the unconditional rows the source prompt: one row a step, and no optimisation."""

    options_type = NegativePromptOptions
    options: NegativePromptOptions

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return DDIM's trajectory, not pinned, and the unconditional text."""
        if run.guidance == 1:
            raise OptionError("negative-prompt inversion needs guidance, and 1 is none; try 7.5.")
        if run.unconditional and not self.options.blend:
            raise OptionError(
                "negative-prompt inversion puts the source prompt in the place of "
                f"{run.unconditional!r}; leave that out, or set blend."
            )
        levels = ddim_trajectory(run, self.options.convention)
        return Trajectory(levels, pinned=False, embeddings=self._text(run))

    def _text(self, run: RunView) -> str | Floats:
        if not self.options.blend:
            return run.source.text
        ends = run.embed(run.source.text), run.embed(run.unconditional)
        return np.tile(slerp(*ends, self.options.blend), (run.steps, 1, 1))
