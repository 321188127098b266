"""Prompt-to-Prompt (Hertz et al. 2022, arXiv:2208.01626): replace, refine, reweight, LocalBlend.

The target takes the source's cross-attention maps for the first part of the run, word by word, and
its self-attention maps for a shorter part, so that the picture keeps its layout while the words,
and with them the values, change. LocalBlend then keeps everything outside the words' own maps.

Every controller is one pair of a matrix S and a vector d: A = A_source S + A_target diag(d).

Changes: the targets' attention, and with LocalBlend their latents. Leaves alone: the source, text.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import numpy as np

from scumble import (
    Bools,
    Branch,
    Control,
    Field,
    Floats,
    Mix,
    OptionError,
    Options,
    Plan,
    Plugin,
    Prompt,
    PromptError,
    Read,
    Route,
    RunView,
    StepView,
    Trial,
    Watch,
    Words,
    above_share_of_maximum,
    dilate,
    hookimpl,
    refine_matrix,
    replace_matrix,
    resize_nearest,
    steps_between,
)

Share = Annotated[float, Field(ge=0, le=1)]
Window = Share | tuple[Share, Share]
SOURCE = Branch(0)
CROSS_WINDOW = 0.8


class PromptToPromptOptions(Options):
    """Options of Prompt-to-Prompt; shares are of the steps, 0 to 1.

    Attributes:
        mode: `replace` swaps words one for one, `refine` aligns any two prompts, `auto` replaces
            where both have as many words.
        cross_window: when the source's cross-attention is taken: a share, a (start, end) pair, or
            a dict of word to either; the key `default` stands for all other words.
        self_window: when the source's self-attention is taken.
        self_stride: finest stride at which self-attention is taken; None is 16x16 of the native
            picture and coarser.
        reweight: word of the target -> factor on its attention, within its cross window.
        blend_words: LocalBlend: only where these words look may the picture change; with a mask,
            only inside both.
        subtract_words: LocalBlend: and not where these look.
        blend_threshold: share of the blend map's maximum above which a cell may change.
        subtract_threshold: likewise for `subtract_words`.
        blend_start: share of the steps before blending (with words or a mask) begins.
        compat: published quirks to reproduce. `unshifted_tail`: replace leaves the words after the
            last swapped one where they were. `extra_step`: cross windows count steps + 1.
            `self_32`: self-attention is taken at 32x32 too.
    """

    mode: Literal["auto", "replace", "refine"] = "auto"
    cross_window: Window | dict[str, Window] = CROSS_WINDOW
    self_window: Window = 0.4
    self_stride: Annotated[int, Field(ge=1)] | None = None
    reweight: dict[str, float] = Field(default_factory=dict)
    blend_words: Words = ()
    subtract_words: Words = ()
    blend_threshold: Share = 0.3
    subtract_threshold: Share = 0.3
    blend_start: Share = 0.2
    compat: tuple[Literal["unshifted_tail", "extra_step", "self_32"], ...] = ()


def window(steps: int, bounds: Window, counted: int | None = None) -> Bools:
    """Return (steps,) True inside a window; `counted` steps are what the shares refer to."""
    start, end = bounds if isinstance(bounds, tuple) else (0.0, bounds)
    if start > end:
        raise OptionError(f"a window starts at {start} and ends before, at {end}.")
    # 0.29 * 100 is 28.999999999999996 in binary; the nudge keeps it 29.
    first, last = (int(share * (counted or steps) + 1e-9) for share in (start, end))
    return steps_between(steps, first, last)


def token_mask(tokens: int, indices: Iterable[int]) -> Floats:
    """Return (tokens,) 1 at the given tokens."""
    mask = np.zeros(tokens)
    mask[list(indices)] = 1
    return mask


def columns(prompts: Sequence[Prompt], word: str) -> list[Floats]:
    """Return (tokens,) masks of a word, one a prompt; zero where a prompt lacks it.

    Raises:
        PromptError: no prompt has the word.
    """
    found: list[Floats] = []
    missing: list[PromptError] = []
    for prompt in prompts:
        try:
            found.append(token_mask(len(prompt.ids), prompt.tokens_of(word)))
        except PromptError as error:
            missing.append(error)
            found.append(np.zeros(len(prompt.ids)))
    if len(missing) == len(prompts):
        raise missing[-1]
    return found


def pair(base: Floats, new: Bools, on: Floats, factor: Floats) -> tuple[Floats, Floats]:
    """Return (S, d) of one target at one step (spec of the controllers: Hertz et al. sec. 3).

    Args:
        base: (tokens, tokens) source token by target token.
        new: (tokens,) True where a target token keeps its own map, having none in the source.
        on: (tokens,) 1 where a target token is inside its window.
        factor: (tokens,) reweighting of target tokens.
    """
    return base * (on * factor), new * on * factor + 1 - on


class PromptToPrompt(Plugin):
    """Prompt-to-Prompt: swap, add and re-weight words, keep the layout, blend locally."""

    options_type = PromptToPromptOptions
    trial = Trial(neutral={"cross_window": 0, "self_window": 0})
    options: PromptToPromptOptions

    def __init__(self, options: PromptToPromptOptions | None = None) -> None:
        super().__init__(options)
        self._seen: dict[int, Floats] = {}

    def takes_mask(self, name: str) -> bool:
        """Blend inside the one mask that has no name."""
        return not name

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the mixes and routes of every target, and what LocalBlend reads."""
        if not run.targets:
            raise OptionError("prompt_to_prompt needs a target prompt.")
        if not run.source.words:
            raise PromptError("prompt_to_prompt needs a source prompt, and it is empty.")
        factors = self._factors(run)
        self._require_reweighting(run)
        controls: list[Control] = []
        for index, target in enumerate(run.targets):
            branch = Branch(index + 1)
            controls.append(self._mix(run, branch, target, factors[index]))
            on = window(run.steps, self.options.self_window)
            sites = run.sites.select("self", least_stride=self._self_stride(run))
            if on.any() and sites:
                controls.append(Route(branch, on, sites, query=SOURCE, key=SOURCE))
        return Plan((*controls, *self._blend_reads(run)))

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> dict[int, Floats] | None:
        """Blend: x = x_source + mask (x - x_source), with the maps summed over the steps so far."""
        for picture in range(len(run.targets) + 1):
            seen = step.reads.get(f"blend.{picture}")
            if seen is not None:
                self._seen[picture] = self._seen.get(picture, 0) + seen
        if not self._blends(run) or step.index < int(self.options.blend_start * run.steps + 1e-9):
            return None
        source = step.latents[0]
        blended: dict[int, Floats] = {}
        for picture in range(1, len(run.targets) + 1):
            blended[picture] = np.where(self._mask(run, picture), step.latents[picture], source)
        return blended

    def _self_stride(self, run: RunView) -> int:
        if self.options.self_stride is not None:
            return self.options.self_stride
        stride = run.sites.map_stride
        return max(1, stride // 2) if "self_32" in self.options.compat else stride

    def _factors(self, run: RunView) -> list[Floats]:
        """Return each target's (tokens,) reweighting."""
        factors: list[Floats] = [np.ones(len(target.ids)) for target in run.targets]
        for word, factor in self.options.reweight.items():
            for mine, mask in zip(factors, columns(run.targets, word), strict=True):
                mine[mask > 0] = factor
        return factors

    def _require_reweighting(self, run: RunView) -> None:
        """Raise OptionError for a factor that no step would apply."""
        for word in self.options.reweight:
            masks = columns(run.targets, word)
            if not any((self._on(run, i) * mask).any() for i, mask in enumerate(masks)):
                raise OptionError(
                    f"reweight has {word!r}, whose cross_window is empty at {run.steps} steps, so "
                    "its factor would do nothing; widen the window."
                )

    def _mix(self, run: RunView, branch: Branch, target: Prompt, factor: Floats) -> Mix:
        base, new = self._base(run.source, target)
        on = self._on(run, branch.picture - 1)
        unique, at = np.unique(on, axis=0, return_inverse=True)
        pairs = [pair(base, new, row, factor) for row in unique]
        matrices, own = (np.stack(part) for part in zip(*pairs, strict=True))
        return Mix(branch, SOURCE, matrices, own, at.ravel(), run.sites.select("cross"))

    def _base(self, source: Prompt, target: Prompt) -> tuple[Floats, Bools]:
        """Return what comes of which source token, and which target tokens have none there."""
        same = len(source.chunks) == len(target.chunks)
        if self.options.mode == "replace" or (self.options.mode == "auto" and same):
            compat = "unshifted_tail" in self.options.compat
            matrix = replace_matrix(source, target, compat_tail=compat)
            return matrix, np.zeros(len(matrix), dtype=bool)
        matrix = refine_matrix(source, target)
        return matrix, matrix.sum(axis=0) == 0

    def _on(self, run: RunView, target: int) -> Floats:
        """Return (steps, tokens): 1 where a target token takes the source's cross-attention."""
        given = self.options.cross_window
        by_word = dict(given) if isinstance(given, dict) else {"default": given}
        counted = run.steps + 1 if "extra_step" in self.options.compat else run.steps
        default = window(run.steps, by_word.pop("default", CROSS_WINDOW), counted)
        on = np.repeat(default[:, None].astype(float), len(run.targets[target].ids), axis=1)
        for word, bounds in by_word.items():
            mask = columns(run.targets, word)[target]
            on[:, mask > 0] = window(run.steps, bounds, counted)[:, None]
        return on

    def _blends(self, run: RunView) -> bool:
        return run.mask is not None or bool(self.options.blend_words)

    def _blend_reads(self, run: RunView) -> list[Control]:
        """Return what LocalBlend reads: a weight vector for blend and one for subtract words."""
        if self.options.subtract_words and not self.options.blend_words:
            raise OptionError("subtract_words needs blend_words to subtract from.")
        if not self._blends(run):
            return []
        every = np.ones(run.steps, dtype=bool)
        controls: list[Control] = [Watch(0, every)]
        if not self.options.blend_words:
            return controls
        prompts = (run.source, *run.targets)
        stride = run.sites.map_stride
        sites = run.sites.select("cross", places=("down", "up"), strides=(stride,))
        chosen = (self.options.blend_words, self.options.subtract_words)
        masks = [
            np.maximum.reduce([columns(prompts, word) for word in words])
            for words in chosen
            if words
        ]
        for picture in range(len(prompts)):
            weights = np.stack([mask[picture] for mask in masks])
            controls.append(Read(f"blend.{picture}", Branch(picture), weights, sites, every))
        return controls

    def _mask(self, run: RunView, picture: int) -> Bools:
        """Return where a target may change: inside the user's mask and the words' own."""
        may_change = np.ones(run.latent, dtype=bool) if run.mask is None else run.mask > 0
        return (
            may_change & self._word_mask(run, picture) if self.options.blend_words else may_change
        )

    def _word_mask(self, run: RunView, picture: int) -> Bools:
        """Return where a target's words look, or the source's, less what is subtracted."""
        may_change = self._above(run, picture, 0) | self._above(run, 0, 0)
        if self.options.subtract_words:
            may_change &= ~(self._above(run, picture, 1) | self._above(run, 0, 1))
        return may_change

    def _above(self, run: RunView, picture: int, vector: int) -> Bools:
        field = self._seen[picture][vector]
        threshold = self.options.subtract_threshold if vector else self.options.blend_threshold
        pooled = field if vector else dilate(field)
        return above_share_of_maximum(resize_nearest(pooled, run.latent), threshold)
