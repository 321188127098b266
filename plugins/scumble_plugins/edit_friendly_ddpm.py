"""Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2023, arXiv:2304.06140).

The picture is noised at each level by itself; the noise that each DDPM step has to add to lead from
one level to the next is what keeps the picture, and every target adds it too. The first steps are
skipped.

Changes: the starting latent, which steps are taken, the noise that they add. Leaves alone:
attention, text.
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
    Trajectory,
    deviation,
    hookimpl,
    step_mean,
)

SKIP = 12 / 50


class EditFriendlyOptions(Options):
    """Options of edit-friendly DDPM inversion.

    Attributes:
        skip: first steps that are left out; None is 12 of 50, and likewise of others.
        eta: share of DDPM's noise that each step adds.
        source_guidance: guidance under which the noise is sought; 1 costs half the rows.
        noiseless_end: leave out the last step's noise, as the published code does; the picture then
            comes back less exactly.
        batch: levels whose noise is predicted in one call; they do not depend on each other.
    """

    skip: Annotated[int, Field(ge=0)] | None = None
    eta: Annotated[float, Field(gt=0, le=1)] = 1.0
    source_guidance: Annotated[float, Field(ge=1, le=100)] = 1.0
    noiseless_end: bool = False
    batch: Annotated[int, Field(ge=1, le=64)] = 8


class EditFriendlyDDPM(Plugin):
    """Keep the picture in the noise that the steps add: one row a step taken, many at once."""

    options_type = EditFriendlyOptions
    options: EditFriendlyOptions

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan nothing but where the run begins."""
        skip = self.options.skip
        return Plan(start=round(SKIP * run.steps) if skip is None else skip)

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the noised levels, pinned, and the noise that leads from each to the next."""
        if run.image is None:
            raise OptionError("inversion needs a picture, and this run generates its source.")
        eta, scheduler = self.options.eta, run.scheduler
        taken = [i for i in range(run.start, run.steps) if not scheduler.is_identity(i)]
        levels = self._levels(run, run.image)
        noises = np.zeros_like(levels[:-1])
        predicted = self._predicted(run, levels, taken)
        for index, noise in zip(taken, predicted, strict=True):
            mean = step_mean(scheduler, levels[index], noise, index, eta)
            noises[index] = (levels[index + 1] - mean) / deviation(scheduler, index, eta)
            if self.options.noiseless_end and index == taken[-1]:
                noises[index] = 0
                levels[index + 1 :] = mean
        return Trajectory(levels, pinned=True, noises=noises, eta=eta)

    def _levels(self, run: RunView, image: Floats) -> Floats:
        """Return the picture, noised anew at each level but the last."""
        fresh = run.random().standard_normal((run.steps, *image.shape)).astype(image.dtype)
        levels = [image]
        for index in reversed(range(run.steps)):
            still = run.scheduler.is_identity(index)
            noised = run.scheduler.add_noise(image, fresh[index], index)
            levels.append(levels[-1] if still else noised)
        return np.stack(levels[::-1])

    def _predicted(self, run: RunView, levels: Floats, taken: list[int]) -> list[Floats]:
        """Return the noise that the UNet sees in each level, under the source's guidance."""
        found: list[Floats] = []
        for first in range(0, len(taken), self.options.batch):
            part = taken[first : first + self.options.batch]
            told = levels[part], run.scheduler.timesteps[part]
            noise = run.predict_rows(*told, [run.source.text] * len(part))
            if self.options.source_guidance != 1:
                plain = run.predict_rows(*told, [run.unconditional] * len(part))
                noise = plain + self.options.source_guidance * (noise - plain)
            found.extend(noise)
        return found
