"""Proximal guidance on negative-prompt inversion (Han et al. 2023, "ProxEdit", arXiv:2306.05414).

Where the target's text changes the noise only a little, the change is left out, so that what both
prompts share stays. What is left alone may be drawn to the inverted picture in the last steps.

Changes: the starting noise, the text of the unconditional rows, guidance, latents after a step.
Leaves alone: attention.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np

from scumble import (
    BeforeView,
    Field,
    Floats,
    GuidedNoise,
    InversionOptions,
    OptionError,
    Plugin,
    RunView,
    StepView,
    Trajectory,
    ddim_trajectory,
    dilate,
    hookimpl,
)

Share = Annotated[float, Field(ge=0, le=1)]


class ProximalOptions(InversionOptions):
    """Options of proximal guidance.

    Attributes:
        threshold: `soft` also takes the limit off the changes that stay, and is what the published
            code calls l0; `hard` keeps those as they are, and is what the paper calls L0.
        quantile: share of changes below the limit, counted as published over the target's and the
            source's together; the source's are zero, so 0.7 is 0.4 of the target's own.
        limit: the limit itself, in place of the quantile.
        anchor: what draws cells that do not change to the picture: `latent`, the inverted latent of
            the same level ("inversion guidance"); `clean`, the picture, through what the step
            foresees ("reconstruction guidance"); `none`.
        anchor_rate: how far, 1 being all the way.
        anchor_below: it does so at timesteps of training below this one.
        anchor_margin: cells around those that change, in which it does not.
    """

    threshold: Literal["soft", "hard"] = "soft"
    quantile: Share = 0.7
    limit: Annotated[float, Field(ge=0)] | None = None
    anchor: Literal["latent", "clean", "none"] = "latent"
    anchor_rate: Share = 1.0
    anchor_below: Annotated[int, Field(ge=0)] = 400
    anchor_margin: Annotated[int, Field(ge=0)] = 1


def batch_quantile(change: Floats, quantile: float) -> float:
    """Return a quantile of the sizes of a change, and of as many zeros beside it."""
    sizes = np.concatenate([np.zeros(change.size, change.dtype), np.abs(change).ravel()])
    return float(np.quantile(sizes, quantile))


def shrunk(change: Floats, limit: float, threshold: Literal["soft", "hard"]) -> Floats:
    """Return a change with what does not exceed the limit left out (eq. 7 and 8)."""
    if threshold == "hard":
        return np.where(np.abs(change) > limit, change, 0)
    return change - np.clip(change, -limit, limit)


def untouched(kept: Floats, limit: float, margin: int) -> Floats:
    """Return 1 where no change above the limit is near, by channel, (channels, height, width)."""
    changed = (np.abs(kept) > limit).astype(kept.dtype)
    for _ in range(margin):
        changed = np.stack([dilate(channel) for channel in changed])
    return 1 - changed


class Proximal(Plugin):
    """Leave out small changes by guidance: one row a step to invert, none more to edit."""

    options_type = ProximalOptions
    options: ProximalOptions

    def __init__(self, options: ProximalOptions | None = None) -> None:
        super().__init__(options)
        self._still: dict[int, tuple[Floats, Floats]] = {}

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return DDIM's trajectory, not pinned; the unconditional rows see the source prompt."""
        if run.guidance == 1:
            raise OptionError("proximal guidance needs guidance, and 1 is none; try 7.5.")
        if run.unconditional:
            raise OptionError(
                "proximal guidance puts the source prompt in the place of "
                f"{run.unconditional!r}; leave that out."
            )
        levels = ddim_trajectory(run, self.options.convention)
        return Trajectory(levels, pinned=False, embeddings=run.source.text)

    @hookimpl
    def scumble_guidance(self, run: RunView, step: BeforeView, noise: GuidedNoise) -> Floats:
        """Return u + w shrink(c - u), and note which cells it leaves alone."""
        options = self.options
        change = noise.conditional - noise.unconditional
        limit = options.limit
        if limit is None:
            limit = batch_quantile(change, options.quantile)
        kept = shrunk(change, limit, options.threshold)
        guided = noise.unconditional + run.guidance * kept
        if options.anchor != "none" and step.timestep < options.anchor_below:
            latent = step.latents[noise.picture]
            foreseen = run.scheduler.predict_clean(latent, guided, step.index)
            self._still[noise.picture] = untouched(kept, limit, options.anchor_margin), foreseen
        return guided

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> Mapping[int, Floats]:
        """Return the latents, drawn to the picture where they were left alone."""
        assert run.trajectory is not None
        assert run.image is not None
        drawn: dict[int, Floats] = {}
        for picture, (still, foreseen) in self._still.items():
            latent = step.latents[picture]
            if self.options.anchor == "latent":
                away = latent - run.trajectory.latents[step.index + 1]
            else:
                # Taken from the clean latent inside the step, so scaled as the step scales it.
                away = run.scheduler.reached[step.index] ** 0.5 * (foreseen - run.image)
            drawn[picture] = latent - self.options.anchor_rate * away * still
        self._still = {}
        return drawn
