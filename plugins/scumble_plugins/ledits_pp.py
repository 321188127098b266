"""LEDITS++ (Brack et al. 2024, arXiv:2311.16711): guidance by several edits, each in its own mask.

The noise of a step is that without text and, for every edit, its scale times what its text adds,
inside its mask (eq. 9 and 10). A mask is where both the cross-attention of the edit's words (M1,
eq. 12) and what the edit adds (M2, eq. 13) are in the top tenth; in the first fifth of the noise
levels M1 alone decides, as in the published code.

The target's prompt is the first edit, with the run's guidance as its scale; the published default
is 5. All rows of a step are one batch, and the maps are those of the very step: 1 + edits rows.
The paper inverts by edit-friendly DDPM without a prompt; any inversion will do, and with an empty
source prompt what lies outside every mask is led back as it came.

Changes: where the run starts, and the targets' guidance. Leaves alone: the source, attention.
"""

from typing import Annotated, Literal

import numpy as np

from scumble import (
    Also,
    BeforeView,
    Bools,
    Branch,
    Control,
    Field,
    Floats,
    GuidedNoise,
    OptionError,
    Options,
    Plan,
    Plugin,
    Prompt,
    Read,
    RunView,
    Trial,
    Words,
    hookimpl,
    resize_nearest,
)

__all__ = ["LeditsPP", "LeditsPPOptions"]

Share = Annotated[float, Field(ge=0, le=1)]
NOISY = 0.8
"""Share of the training timesteps above which the noises are too alike to make a mask."""
SMOOTHING = np.exp(-np.add.outer([1, 0, 1], [1, 0, 1]))
"""The published 3x3 kernel, before it is scaled to sum 1."""


class LeditsPPOptions(Options):
    """Options of LEDITS++.

    Attributes:
        edits: text -> scale of further edits; below 0 the thing is removed.
        words: words of the target whose attention makes its mask; none named is all of them.
        threshold: share of the cells that lie outside a mask; 0 is no mask.
        masks: what a mask is made of: attention, what the edit adds to the noise, or both.
        skip: the first steps are not taken: 0.15 takes 30 of 34.
    """

    edits: dict[str, float] = Field(default_factory=dict)
    words: Words = ()
    threshold: Annotated[float, Field(ge=0, lt=1)] = 0.9
    masks: Literal["both", "attention", "noise"] = "both"
    skip: Annotated[float, Field(ge=0, le=10)] = 0.15


def smoothed(field: Floats) -> Floats:
    """Return a map blurred by the published 3x3 kernel, reflected at its edges."""
    padded = np.pad(field, 1, mode="reflect")
    height, width = field.shape
    parts = [
        SMOOTHING[i, j] * padded[i : i + height, j : j + width] for i in range(3) for j in range(3)
    ]
    return np.sum(parts, axis=0) / SMOOTHING.sum()


def highest(field: Floats, threshold: float) -> Bools:
    """Return where a map is at or above its quantile."""
    return field >= np.quantile(field, threshold)


class LeditsPP(Plugin):
    """LEDITS++: several edits at once, each guided inside a mask of its own words."""

    options_type = LeditsPPOptions
    trial = Trial(neutral={"threshold": 0, "skip": 0})
    options: LeditsPPOptions

    def takes_mask(self, name: str) -> bool:
        """Keep every edit inside the one mask that has no name."""
        return not name

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the start, a row for each further edit, and what masks are read of."""
        self._require(run)
        every = np.ones(run.steps, dtype=bool)
        stride = run.sites.map_stride
        sites = run.sites.select("cross", places=("down", "up"), strides=(stride,))
        controls: list[Control] = []
        for picture, target in enumerate(run.targets, start=1):
            asked = {f"edit.{picture}": (Branch(picture), self._weights(target))}
            for text in self.options.edits:
                prompt = run.encode(text)
                weights = np.zeros((1, len(prompt.ids)))
                weights[0, 1 : prompt.length - 1] = 1
                asked[f"edit.{picture}.{text}"] = Branch(picture, text), weights
                controls.append(Also(f"edit.{picture}.{text}", Branch(picture, text), every))
            if self.options.threshold and self.options.masks != "noise":
                controls += [Read(name, b, w, sites, every) for name, (b, w) in asked.items()]
        return Plan(tuple(controls), start=run.steps - round(run.steps / (1 + self.options.skip)))

    @hookimpl
    def scumble_guidance(self, run: RunView, step: BeforeView, noise: GuidedNoise) -> Floats | None:
        """Return u + the sum over edits of mask * scale * (c - u) (eq. 9)."""
        if noise.picture == 0:
            return None
        edits = {f"edit.{noise.picture}": (run.guidance, noise.conditional)}
        for text, scale in self.options.edits.items():
            name = f"edit.{noise.picture}.{text}"
            edits[name] = scale, noise.also[name]
        early = step.timestep > NOISY * run.scheduler.config.num_train_timesteps
        found = noise.unconditional
        for name, (scale, conditional) in edits.items():
            change = np.asarray(scale, found.dtype) * (conditional - noise.unconditional)
            if run.mask is not None:
                change = change * run.mask.astype(found.dtype)
            found = found + change * self._mask(change, noise.reads.get(name), early, run.latent)
        return found

    def _mask(
        self, change: Floats, maps: Floats | None, early: bool, latent: tuple[int, int]
    ) -> Floats:
        """Return (height, width) 0 or 1: where an edit acts."""
        mask = np.ones(latent, dtype=change.dtype)
        if not self.options.threshold:
            return mask
        if maps is not None:
            looked = highest(smoothed(maps[0]), self.options.threshold).astype(change.dtype)
            mask *= resize_nearest(looked, latent)
        if maps is None or (self.options.masks == "both" and not early):
            mask *= highest(np.abs(change).sum(axis=0), self.options.threshold)
        return mask

    def _weights(self, target: Prompt) -> Floats:
        """Return (1, tokens): which of the target's tokens make its mask."""
        weights = np.zeros((1, len(target.ids)))
        weights[0, 1 : target.length - 1] = not self.options.words
        for word in self.options.words:
            weights[0, list(target.tokens_of(word))] = 1
        return weights

    def _require(self, run: RunView) -> None:
        """Raise OptionError for what would do nothing."""
        options = self.options
        if run.image is None:
            raise OptionError("ledits_pp edits a picture; give one.")
        if not run.targets:
            raise OptionError("ledits_pp needs a target prompt.")
        if run.guidance == 1:
            raise OptionError("ledits_pp is guidance, and 1 is none; try 5.")
        for text, scale in options.edits.items():
            if not text.strip() or not scale:
                raise OptionError(f"edits has {text!r} at scale {scale}, which does nothing.")
        if options.words and (not options.threshold or options.masks == "noise"):
            raise OptionError("words make masks of attention, and none is made; leave words out.")
