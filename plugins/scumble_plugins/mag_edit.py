"""MAG-Edit (Mao et al. 2024, arXiv:2312.11396): edit one thing in a crowded picture.

Before each early step the target's latent, inside a mask, moves down the gradient of a loss on its
cross-attention maps, so that the edited word gets a larger share of what the masked cells look at
(token ratio, eq. 5), or looks at these cells more (spatial ratio, eq. 6). The rest is kept by
Prompt-to-Prompt's injection and by blending with the source in the last steps.

Where nothing else is said, the released code is followed: token ratio, 15 updates, no early stop.

Changes: the targets' attention and latents. Leaves alone: the source, text.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from scumble import (
    Branch,
    Control,
    Field,
    Floats,
    Guide,
    Mix,
    OptionError,
    Options,
    Plan,
    Plugin,
    Prompt,
    Route,
    RunView,
    StepView,
    Term,
    Trial,
    Watch,
    Words,
    dilate,
    hookimpl,
    refine_matrix,
    steps_between,
)

__all__ = ["MagEdit", "MagEditOptions", "on_grid", "token_weights"]

Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0)]
Ratio = Literal["token", "space", "sequence", "joint"]
SOURCE = Branch(0)
TOKEN_STOPS = ((0.2, 0.95), (0.4, 0.96), (1.0, 0.97))
"""Until this share of the steps, token updates end at this loss."""
SPACE_STOP = 2.0
OUTSIDE = 3.0
"""Lambda of eq. 6."""
SUPPRESS = {"token": 5.5, "space": 5.0}
PRESETS: Mapping[str, tuple[float, Ratio]] = {
    "attribute": (0.5, "token"),
    "replacement": (0.25, "sequence"),
    "addition": (0.25, "sequence"),
    "removal": (0.25, "sequence"),
}
"""Edit kind -> self window, and ratio: where the shape may change, less of it is kept."""


class MagEditOptions(Options):
    """Options of MAG-Edit; shares are of the steps, 0 to 1. Masks are given with the picture.

    Attributes:
        words: the target's words that are edited, each inside the mask of its name, or inside the
            one mask that has none.
        kind: what is edited; it sets self_window and ratio where these are None.
        ratio: what is raised: the words' share of each cell (`token`), the cells' share of the
            words (`space`), `sequence` (space, then token, each until it is high enough), or
            `joint` (both in one update).
        word_weights: word -> its weight in the loss; the others share what is left of 1.
        suppress: a word of the target -> the word whose share is lowered in its place (eq. 7).
        iterations: most updates a step.
        scale: of an update.
        suppress_scale: of a suppressed word's part of it; None is 5.5 for token, 5 for space.
        guide_window: share of the steps, from the first, that are guided.
        cross_window: share in which the source's cross-attention is taken.
        self_window: share in which the source's self-attention is taken.
        self_stride: finest stride at which it is; None is 32x32 of the native picture and coarser.
        blend_start: share of the steps before everything outside the masks, grown by a cell, is
            the source's.
        drop_start: leaves the start token out of the token ratio's denominator, which it dominates;
            a departure.
    """

    words: Words
    kind: Literal["attribute", "replacement", "addition", "removal"] = "attribute"
    ratio: Ratio | None = None
    word_weights: dict[str, Share] = Field(default_factory=dict)
    suppress: dict[str, str] = Field(default_factory=dict)
    iterations: Annotated[int, Field(ge=1, le=1000)] = 15
    scale: Factor = 2.5
    suppress_scale: Factor | None = None
    guide_window: Share = 0.5
    cross_window: Share = 0.8
    self_window: Share | None = None
    self_stride: Annotated[int, Field(ge=1)] | None = None
    blend_start: Share = 0.7
    drop_start: bool = False


def on_grid(mask: Floats, stride: int) -> Floats:
    """Return a mask whose cells of a stride are all on or all off, (height, width).

    A cell is on where half of it is; if none is, where any of it is: a small thing does not vanish.
    """
    height, width = mask.shape
    rows, columns = -(-height // stride), -(-width // stride)
    padded = np.pad(mask, ((0, rows * stride - height), (0, columns * stride - width)))
    covered = padded.reshape(rows, stride, columns, stride).mean(axis=(1, 3))
    on = covered >= 0.5 if (covered >= 0.5).any() else covered > 0
    cells: Floats = on.repeat(stride, axis=0).repeat(stride, axis=1).astype(np.float32)
    return cells[:height, :width]


def token_weights(prompt: Prompt, word: str) -> Floats:
    """Return (tokens,) weights that take the mean over a word's tokens."""
    weights = np.zeros(len(prompt.ids))
    indices = list(prompt.tokens_of(word))
    weights[indices] = 1 / len(indices)
    return weights


class MagEdit(Plugin):
    """MAG-Edit: edit one thing in a crowded picture, guided by the attention of its words."""

    options_type = MagEditOptions
    trial = Trial({"words": ["red"], "iterations": 1}, masks=("",))
    options: MagEditOptions

    def takes_mask(self, name: str) -> bool:
        """Edit inside the mask of a word, or inside the one that has no name."""
        return not name or name in self.options.words

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan every target's injection and guides."""
        if not run.targets:
            raise OptionError("mag_edit needs a target prompt.")
        controls: list[Control] = [Watch(0, np.ones(run.steps, dtype=bool))]
        for picture, target in enumerate(run.targets, 1):
            controls += self._injection(run, Branch(picture), target)
            controls += self._guides(run, Branch(picture), target)
        return Plan(tuple(controls))

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> dict[int, Floats] | None:
        """Blend: outside the masks, grown by a cell, the latent is the source's."""
        if step.index < self._first(run, self.options.blend_start):
            return None
        inside = np.maximum.reduce([dilate(mask) for mask in self._masks(run).values()]) > 0
        return {
            picture: np.where(inside, step.latents[picture], step.latents[0])
            for picture in range(1, len(run.targets) + 1)
        }

    @property
    def _ratio(self) -> Ratio:
        return self.options.ratio or PRESETS[self.options.kind][1]

    def _first(self, run: RunView, share: float) -> int:
        return int(share * run.steps + 1e-9)

    def _masks(self, run: RunView) -> dict[str, Floats]:
        """Return each word's mask at latent size."""
        if not self.options.words:
            raise OptionError("mag_edit needs words, those of the target that are edited.")
        found: dict[str, Floats] = {}
        for word in self.options.words:
            mask = run.masks.get(word, run.mask)
            if mask is None:
                raise OptionError(
                    f"mag_edit has no mask for {word!r}; give one mask, or one named {word!r}."
                )
            found[word] = mask
        return found

    def _injection(self, run: RunView, branch: Branch, target: Prompt) -> list[Control]:
        """Return Prompt-to-Prompt's refinement of one target."""
        matrix = refine_matrix(run.source, target)
        own = (matrix.sum(axis=0) == 0).astype(float)
        taken = steps_between(run.steps, 0, self._first(run, self.options.cross_window))
        at = np.where(taken, 0, -1)
        cross = run.sites.select("cross")
        controls: list[Control] = [Mix(branch, SOURCE, matrix[None], own[None], at, cross)]
        share = self.options.self_window
        share = PRESETS[self.options.kind][0] if share is None else share
        on = steps_between(run.steps, 0, self._first(run, share))
        least = self.options.self_stride or max(1, run.sites.map_stride // 2)
        sites = run.sites.select("self", least_stride=least)
        if on.any() and sites:
            controls.append(Route(branch, on, sites, query=SOURCE, key=SOURCE))
        return controls

    def _guides(self, run: RunView, branch: Branch, target: Prompt) -> list[Guide]:
        """Return one target's guides, in order."""
        masks = self._masks(run)
        guided = steps_between(run.steps, 0, self._first(run, self.options.guide_window))
        if not guided.any():
            raise OptionError("mag_edit guides no step; widen guide_window.")
        sites = run.sites
        stride = sites.map_stride
        chosen = sites.select("cross", places=("down", "up"), strides=(stride,))
        alphas = run.scheduler.alphas[: run.steps]
        noise = np.sqrt((1 - alphas) / alphas)
        base = Guide(
            branch=branch,
            terms=self._terms(run, target, masks, "token"),
            sites=chosen,
            steps=guided,
            iterations=self.options.iterations,
            rate=self.options.scale * noise,
            within=np.maximum.reduce(list(masks.values())),
        )
        shares = np.arange(run.steps) / run.steps
        ends = np.select([shares < end for end, _ in TOKEN_STOPS], [at for _, at in TOKEN_STOPS])
        space = replace(
            base,
            terms=self._terms(run, target, masks, "space"),
            rate=np.full(run.steps, self.options.scale),
            constant=OUTSIDE,
        )
        match self._ratio:
            case "token":
                return [base]
            case "space":
                return [space]
            case "sequence" if self.options.suppress:
                # The thresholds are those of a loss without a suppressed word.
                return [space, base]
            case "sequence":
                stop = np.full(run.steps, SPACE_STOP)
                return [replace(space, stop=stop), replace(base, stop=ends)]
            case "joint":
                return [
                    self._joint(base, space, index) for index in map(int, np.flatnonzero(guided))
                ]

    def _joint(self, token: Guide, space: Guide, index: int) -> Guide:
        """Return one step's guide with both losses: the token ratio's rate becomes its weight."""
        share = float(token.rate[index] / space.rate[index])
        terms = tuple(replace(term, weight=term.weight * share) for term in token.terms)
        only = steps_between(len(token.steps), index, index + 1)
        return replace(space, terms=(*space.terms, *terms), steps=only)

    def _terms(
        self,
        run: RunView,
        target: Prompt,
        masks: Mapping[str, Floats],
        kind: Literal["token", "space"],
    ) -> tuple[Term, ...]:
        """Return the terms of each word, and of the words that are suppressed in their place."""
        stride = run.sites.map_stride
        rest = np.ones(len(target.ids))
        if self.options.drop_start:
            rest[0] = 0
        factor = 1.0 if kind == "token" else -(OUTSIDE + 1)
        terms: list[Term] = []
        for word, weight in self._weights().items():
            mask = on_grid(masks[word], stride)
            words = token_weights(target, word)
            terms.append(Term(kind, words, mask, factor * weight, rest=rest))
            if word in self.options.suppress:
                text = target.text.replace(word, self.options.suppress[word])
                other = run.encode(text)
                suppressed = token_weights(other, self.options.suppress[word])
                less = self.options.suppress_scale or SUPPRESS[kind]
                less *= -factor * weight / self.options.scale
                terms.append(Term(kind, suppressed, mask, less, text, rest))
        return tuple(terms)

    def _weights(self) -> dict[str, float]:
        """Return each word's weight in the loss; they add up to 1 unless all were given."""
        words, given = self.options.words, self.options.word_weights
        odd = next((w for w in (*given, *self.options.suppress) if w not in words), None)
        if odd is not None:
            raise OptionError(f"mag_edit is told of {odd!r}, which is not among its words.")
        others = [word for word in words if word not in given]
        left = max(0.0, 1 - sum(given.values()))
        return {word: given.get(word, left / max(1, len(others))) for word in words}
