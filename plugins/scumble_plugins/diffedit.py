"""DiffEdit (Couairon et al. 2022, arXiv:2210.11427): find the mask from two prompts, decode in it.

Where the noises foreseen under the source and the target prompt differ most, the picture has to
change (section 3.2, step 1): their difference, averaged over several noisings of the picture, is
clipped, scaled and cut. The picture is encoded part of the way by DDIM (step 2) and decoded with
the target prompt; after each step, what lies outside the mask is the encoded picture's (step 3,
eq. 6), at the level that the step arrived at. A common implementation takes the level before.

Guidance cancels in the mask: both noises have the same unconditional part, and a factor is lost
when the difference is scaled. So a noising costs two rows, and not four.

As `masking`, it makes the mask of another method. Changes: where the run starts, and the targets'
latents outside the mask. Leaves alone: the source, attention, text, guidance.
"""

from typing import Annotated

import numpy as np

from scumble import (
    Bools,
    Field,
    Floats,
    OptionError,
    Options,
    Plan,
    Plugin,
    RunView,
    StepView,
    Watch,
    hookimpl,
)

__all__ = ["DiffEdit", "DiffEditOptions"]

Share = Annotated[float, Field(ge=0, le=1)]


class DiffEditOptions(Options):
    """Options of DiffEdit; the first is the method's, the others make its mask.

    Attributes:
        encode_ratio: share of the steps that are encoded and decoded.
        maps: noisings of the picture whose differences are averaged; two rows each.
        mask_strength: share of the steps up to which the picture is noised for them.
        clip: the difference is clipped at this many times its mean.
        threshold: share of that above which a cell may change.
    """

    encode_ratio: Share = 0.8
    maps: Annotated[int, Field(ge=1, le=100)] = 10
    mask_strength: Share = 0.5
    clip: Annotated[float, Field(gt=0)] = 3.0
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.5


def contrasted(difference: Floats, clip: float, threshold: float) -> Bools:
    """Return where a difference, clipped at a multiple of its mean, is above a share of that.

    What is clipped is above any share below 1, so that nothing has to be.

    Args:
        difference: (height, width), at least 0.
        clip: the multiple.
        threshold: the share.
    """
    return difference > threshold * clip * difference.mean()


class DiffEdit(Plugin):
    """DiffEdit: a mask from the contrast of two prompts, and an edit inside it."""

    options_type = DiffEditOptions
    options: DiffEditOptions

    def __init__(self, options: DiffEditOptions | None = None) -> None:
        super().__init__(options)
        self._made = False

    def takes_mask(self, name: str) -> bool:
        """Decode inside the one mask that has no name; without one it makes its own."""
        return not name

    @hookimpl
    def scumble_mask(self, run: RunView) -> dict[str, Floats]:
        """Return where the noises under the two prompts differ; two rows a noising."""
        if run.image is None:
            raise OptionError("diffedit finds its mask in a picture; give one.")
        if len(run.targets) != 1:
            raise OptionError(
                f"diffedit makes a mask for one target and this run has {len(run.targets)}; edit "
                "to one after another, or give a mask."
            )
        difference = self._difference(run, run.image)
        found = contrasted(difference, self.options.clip, self.options.threshold)
        if not found.any():
            raise OptionError(
                "diffedit finds no place where the two prompts differ; give other prompts, or "
                "lower threshold or clip."
            )
        self._made = True
        return {"": found.astype(np.float32)}

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the start, and ask that the source's latents be kept."""
        if run.image is None:
            raise OptionError("diffedit edits a picture; give one.")
        idle = self.options.model_fields_set - {"encode_ratio"}
        if idle and not self._made:
            raise OptionError(
                f"a mask is given, so that {', '.join(sorted(idle))} would do nothing; leave "
                "either out."
            )
        start = run.steps - int(run.steps * self.options.encode_ratio + 1e-9)
        return Plan((Watch(0, np.ones(run.steps, dtype=bool)),), start=start)

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> dict[int, Floats]:
        """Keep the outside: x = mask x + (1 - mask) x_source (eq. 6)."""
        assert run.mask is not None
        inside = run.mask > 0
        return {
            picture: np.where(inside, step.latents[picture], step.latents[0])
            for picture in range(1, len(run.targets) + 1)
        }

    def _difference(self, run: RunView, image: Floats) -> Floats:
        """Return (height, width): the mean of |noise under target - noise under source|."""
        level = run.steps - int(run.steps * self.options.mask_strength + 1e-9)
        if level == run.steps:
            raise OptionError(
                f"mask_strength {self.options.mask_strength} of {run.steps} steps is no noise at "
                "all; raise it."
            )
        noise = run.random().standard_normal((self.options.maps, *image.shape))
        latents = run.scheduler.add_noise(
            np.broadcast_to(image, noise.shape), noise.astype(image.dtype), level
        )
        prompts = (run.source.text, run.targets[0].text)
        before, after = np.split(
            run.predict_rows(
                np.concatenate([latents, latents]),
                np.full(2 * len(latents), run.scheduler.timesteps[level]),
                [text for text in prompts for _ in latents],
            ),
            2,
        )
        return np.abs(after - before).mean(axis=(0, 1))
