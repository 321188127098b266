"""Null-text inversion (Mokady et al. 2022, arXiv:2211.09794, algorithm 1).

At each step the text of the unconditional row is moved until guidance leads from where the last
step arrived to the latent that DDIM inversion recorded. Needs an engine with gradients by the text.

Changes: the source latent at every step, the text of the unconditional rows. Leaves alone:
attention, latents between steps.
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

PUBLISHED = 50  # steps, for which rates and thresholds are given


class NullTextOptions(InversionOptions):
    """Options of null-text inversion; rates and thresholds are those of 50 steps, and spread alike.

    Attributes:
        iterations: most updates a step, each of which costs a gradient.
        rate: of Adam at the first step; it falls to half that at the last.
        stop: loss at which the updates of the first step end.
        stop_growth: added to that at each further step.
    """

    iterations: Annotated[int, Field(ge=1, le=1000)] = 10
    rate: Annotated[float, Field(gt=0)] = 1e-2
    stop: Annotated[float, Field(ge=0)] = 1e-5
    stop_growth: Annotated[float, Field(ge=0)] = 2e-5


class Adam:
    """Adam on one array (Kingma and Ba 2015, algorithm 1), with the usual constants.

    Args:
        rate: size of an update.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._count = 0
        self._first = self._second = np.zeros(())

    def moved(self, value: Floats, slope: Floats) -> Floats:
        """Return the value after an update down its slope."""
        self._count += 1
        self._first = 0.9 * self._first + 0.1 * slope
        self._second = 0.999 * self._second + 0.001 * slope**2
        first = self._first / (1 - 0.9**self._count)
        second = self._second / (1 - 0.999**self._count)
        return value - self._rate * first / (np.sqrt(second) + 1e-8)


def wanted_noise(
    run: RunView, latent: Floats, conditional: Floats, reached: Floats, index: int
) -> tuple[Floats, float]:
    """Return what the unconditional row should predict, and the weight of its squared distance.

    A step is linear in the UNet's output, x' = a x + b e, and so is guidance, e = (1 - w) u + w c.
    So one u leads to the latent that is wanted, and the mean squared distance of x' from that is
    (b (1 - w))^2 times that of u from this one.

    Args:
        run: under guidance.
        latent: that the step starts from, (channels, height, width).
        conditional: what the row with text predicts, same shape.
        reached: the latent that is wanted after the step, same shape.
        index: the step, which is no identity.
    """
    scheduler, guidance = run.scheduler, run.guidance
    gain = float(scheduler.forward(np.zeros(1), np.ones(1), index)[0])
    guided = (reached - scheduler.forward(latent, np.zeros_like(latent), index)) / gain
    return (guided - guidance * conditional) / (1 - guidance), (gain * (1 - guidance)) ** 2


class NullText(Plugin):
    """Fit the unconditional text to the picture: three rows and up to ten gradients a step."""

    options_type = NullTextOptions
    options: NullTextOptions

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the latents that the fitted texts lead through, pinned, and those texts."""
        if run.guidance == 1:
            raise OptionError("null-text inversion needs guidance, and 1 is none; try 7.5.")
        recorded = ddim_trajectory(run, self.options.convention)
        latent, text = recorded[run.start], run.embed(run.unconditional)
        levels, texts = [latent] * (run.start + 1), [text] * run.start
        for index in range(run.start, run.steps):
            if not run.scheduler.is_identity(index):
                timestep = run.scheduler.timesteps[index : index + 1]
                conditional = run.predict(latent, int(timestep[0]), run.source.text)
                wanted = wanted_noise(run, latent, conditional, recorded[index + 1], index)
                text = self._fitted(run, latent, index, text, *wanted)
                plain = run.predict_rows(latent[None], timestep, [text])[0]
                guided = plain + run.guidance * (conditional - plain)
                latent = run.scheduler.forward(latent, guided.astype(latent.dtype), index)
            texts.append(text)
            levels.append(latent)
        return Trajectory(np.stack(levels), pinned=True, embeddings=np.stack(texts))

    def _fitted(
        self, run: RunView, latent: Floats, index: int, text: Floats, wanted: Floats, weight: float
    ) -> Floats:
        """Return a step's text, starting from that of the step before."""
        options, place = self.options, index * PUBLISHED / run.steps
        adam = Adam(options.rate * (1 - place / (2 * PUBLISHED)))
        enough = options.stop + place * options.stop_growth
        for _ in range(options.iterations):
            timestep = int(run.scheduler.timesteps[index])
            loss, slope = run.match(latent, timestep, text, wanted, weight)
            text = adam.moved(text, slope).astype(text.dtype)
            # The loss is of before the update, which is made in any case, as published.
            if loss < enough:
                break
        return text
