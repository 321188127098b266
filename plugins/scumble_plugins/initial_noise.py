"""Initial image editing (Mao, Wang and Aizawa 2023, arXiv:2305.03382): the noise decides the place.

Before anything is drawn, starting noise has a tendency to put a word somewhere. Re-painting draws
the noise inside boxes anew and keeps the rest (section 3.2); layout-to-image moves the blocks of
noise that want to become a word into its box (section 3.3), so that no value changes.

Beyond the paper: several candidates, ranked by their tendency; partial strength; the rest kept
exactly; the inverted noise of a picture, whose own mean and spread the new noise is given; and any
number of boxes, by the best assignment of blocks to words there is.

Changes: the targets' starting noise, with `keep_outside` their latents. Leaves alone: the source,
attention, text.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np

from scumble import (
    BlockGrid,
    Bools,
    Box,
    Field,
    Floats,
    Indices,
    OptionError,
    Options,
    Plan,
    Plugin,
    Prompt,
    RunView,
    StepView,
    Trial,
    Watch,
    dilate,
    hookimpl,
)

GRAIN = 2**40
"""Scores are compared in whole numbers, this many to the largest."""
FEW = 9
"""Fewer cells have no spread worth the name: their neighbours count too."""
BOX = (0, 0, 32, 32)
"""Of the trial: inside any picture."""


class InitialNoiseOptions(Options):
    """Options of initial-noise editing; boxes are left, top, right, bottom in pixels.

    Attributes:
        repaint: boxes whose noise is drawn anew, rounded outward to whole blocks.
        draw: number of the draw; another one gives other noise, or pairs blocks otherwise.
        strength: share of the noise that is new: z' = sqrt(1 - strength) z + sqrt(strength) e.
        candidates: draws of which the best is taken, each a cut-short row.
        repaint_word: word of the targets by whose tendency, its mean in the boxes, they are ranked.
        match_moments: gives new noise the mean and spread that each channel has in the boxes; None
            does so for the inverted noise of a picture alone.
        keep_outside: takes everything outside the boxes from the source after every step.
        layout: word of the targets -> the box it is to come to lie in, by moving blocks of noise;
            where boxes overlap, the smaller one has it.
        map_site: the cross-attention whose map shows tendencies; None is the published choice.
    """

    repaint: tuple[Box, ...] = ()
    draw: Annotated[int, Field(ge=0)] = 0
    strength: Annotated[float, Field(ge=0, le=1)] = 1.0
    candidates: Annotated[int, Field(ge=1, le=1000)] = 1
    repaint_word: str | None = None
    match_moments: bool | None = None
    keep_outside: bool = False
    layout: dict[str, Box] = Field(default_factory=dict)
    map_site: Annotated[int, Field(ge=0)] | None = None


def blended(noise: Floats, fresh: Floats, strength: float, mean: Floats, spread: Floats) -> Floats:
    """Return noise of which a share is new, with its variance kept about a mean.

    Args:
        noise: (channels, height, width).
        fresh: likewise, standard normal.
        strength: the share.
        mean: (channels, 1, 1) of the new part; the paper's is 0.
        spread: likewise; the paper's is 1.
    """
    kept = (1 - strength) ** 0.5 - 1
    return noise + kept * (noise - mean) + strength**0.5 * spread * fresh


def best_blocks(scores: Floats, sizes: Sequence[int]) -> Indices:
    """Return (blocks,) the word that each block goes to, -1 for none: the sum of scores is largest.

    With one word these are the blocks of highest rank, of equal ones the first. In general it is a
    transportation problem, solved exactly by best augmenting paths: one after the other, a block
    is added to a word that has room, perhaps by handing blocks on from word to word.

    Args:
        scores: (words, blocks).
        sizes: blocks that each word takes, no more in all than there are.
    """
    words = len(scores)
    # In whole numbers, a way round in a circle never looks like a gain.
    whole = np.rint(scores / np.abs(scores).max(initial=1e-30) * GRAIN).astype(np.int64)
    gains = np.concatenate([whole, np.zeros_like(whole[:1])])
    owner = np.full(scores.shape[1], words)
    room = [*sizes, 0]
    while any(room):
        gain = np.full((words + 1, words + 1), -words * 8 * GRAIN)
        block = np.zeros_like(gain)
        for giver in range(words + 1):
            owned = np.flatnonzero(owner == giver)
            if len(owned):
                change = gains[:, owned] - gains[giver, owned]
                block[giver], gain[giver] = owned[change.argmax(axis=1)], change.max(axis=1)
        best, came = gain[words].copy(), np.full(words + 1, words)
        for _ in range(words):
            for giver, taker in np.ndindex(words, words):
                if best[giver] + gain[giver, taker] > best[taker]:
                    best[taker], came[taker] = best[giver] + gain[giver, taker], giver
        taker = max((word for word in range(words) if room[word]), key=lambda word: best[word])
        room[taker] -= 1
        while taker != words:
            giver = came[taker]
            owner[block[giver, taker]] = taker
            taker = giver
    return np.where(owner == words, -1, owner)


def moves(owner: Indices, boxes: Bools, rng: np.random.Generator) -> Indices:
    """Return (blocks,) the block that each place takes: those of a word lie in its box.

    A block that is in its box already stays; the others come to random places there, and what has
    to leave goes where its successor came from (section 3.3).

    Args:
        owner: (blocks,) the word of each block, -1 for none.
        boxes: (words, blocks) where each word's blocks are to lie, no place in two.
        rng: pairs them.
    """
    source = np.arange(len(owner))
    for word, box in enumerate(boxes):
        chosen = owner == word
        source[box & ~chosen] = rng.permutation(np.flatnonzero(chosen & ~box))
    for leaving in np.setdiff1d(np.arange(len(owner)), source):
        place = leaving
        while source[place] != place:
            place = source[place]
        source[place] = leaving
    return source


class InitialNoise(Plugin):
    """Initial image editing: re-paint boxes of the starting noise, or move words to theirs."""

    options_type = InitialNoiseOptions
    trial = Trial({"repaint": [BOX]}, {"repaint": [BOX], "strength": 0})
    options: InitialNoiseOptions

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan to keep the source up to date where the rest is taken from it; check the options."""
        options = self.options
        if not run.targets:
            raise OptionError("initial_noise needs a target prompt.")
        if bool(options.repaint) == bool(options.layout):
            raise OptionError("initial_noise takes boxes to repaint or a layout; give one of them.")
        if options.layout and options.keep_outside:
            raise OptionError("a layout moves noise from everywhere; keep_outside is for repaint.")
        if (options.candidates > 1) != (options.repaint_word is not None):
            raise OptionError("candidates are ranked by repaint_word; give both or neither.")
        self._boxes(run)
        words = [*options.layout, *([options.repaint_word] if options.repaint_word else [])]
        for target in run.targets:
            for word in words:
                target.tokens_of(word)
        kept = (Watch(0, np.ones(run.steps, dtype=bool)),)
        return Plan(kept if options.keep_outside else ())

    @hookimpl
    def scumble_initial_noise(
        self, run: RunView, noise: Mapping[int, Floats]
    ) -> Mapping[int, Floats]:
        """Return the targets' noise, re-painted or laid out."""
        edit = self._repainted if self.options.repaint else self._laid_out
        return {p: edit(run, noise[p], target) for p, target in enumerate(run.targets, 1)}

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> Mapping[int, Floats] | None:
        """Take everything outside the boxes from the source."""
        if not self.options.keep_outside:
            return None
        inside, source = self._inside(run), step.latents[0]
        pictures = range(1, len(run.targets) + 1)
        return {p: np.where(inside, step.latents[p], source) for p in pictures}

    def _grid(self, run: RunView) -> BlockGrid:
        return BlockGrid.of(run, self.options.map_site)

    def _rng(self, run: RunView) -> np.random.Generator:
        # The run's own noise is what its generator gives first, so this is a child of it.
        return run.random().spawn(self.options.draw + 1)[-1]

    def _boxes(self, run: RunView) -> Bools:
        """Return (boxes, rows, columns) the blocks of each box."""
        grid = self._grid(run)
        if self.options.layout:
            return grid.apart(self.options.layout)
        return np.stack([grid.boxed(box) for box in self.options.repaint])

    def _union(self, run: RunView) -> Bools:
        """Return (rows, columns) the blocks of all boxes."""
        return np.logical_or.reduce(self._boxes(run))

    def _inside(self, run: RunView) -> Bools:
        """Return (height, width) the cells of all boxes."""
        return self._grid(run).cells(self._union(run))

    def _repainted(self, run: RunView, noise: Floats, target: Prompt) -> Floats:
        """Return noise that is new inside the boxes: the best of the candidates."""
        options, inside, rng = self.options, self._inside(run), self._rng(run)
        mean, spread = self._moments(run, noise)
        found: list[tuple[float, Floats]] = []
        for _ in range(options.candidates):
            fresh = rng.standard_normal(noise.shape)
            made = np.where(inside, blended(noise, fresh, options.strength, mean, spread), noise)
            found.append((self._rank(run, made, target), made))
        return max(found, key=lambda pair: pair[0])[1]

    def _moments(self, run: RunView, noise: Floats) -> tuple[Floats, Floats]:
        """Return (channels, 1, 1) mean and spread that new noise is given."""
        matched = self.options.match_moments
        if not (run.image is not None if matched is None else matched):
            return np.zeros((len(noise), 1, 1)), np.ones((len(noise), 1, 1))
        grid, blocks = self._grid(run), self._union(run)
        if grid.cells(blocks).sum() < FEW:
            blocks = dilate(blocks.astype(float)) > 0
        local = noise[:, grid.cells(blocks)]
        return local.mean(axis=1)[:, None, None], local.std(axis=1)[:, None, None]

    def _rank(self, run: RunView, noise: Floats, target: Prompt) -> float:
        """Return the mean tendency of the word inside the boxes."""
        if self.options.repaint_word is None:
            return 0.0
        (field,) = self._grid(run).tendency(noise, target, [self.options.repaint_word])
        return float(field[self._union(run)].mean())

    def _laid_out(self, run: RunView, noise: Floats, target: Prompt) -> Floats:
        """Return the noise with its blocks moved, so that each word's best lie in its box."""
        grid = self._grid(run)
        blocks = grid.blocks(noise)
        fields = grid.tendency(noise, target, list(self.options.layout))
        scores = (fields / fields.mean(axis=(1, 2), keepdims=True)).reshape(len(fields), -1)
        boxes = self._boxes(run).reshape(len(fields), -1)
        owner = best_blocks(scores, boxes.sum(axis=1).tolist())
        return grid.latent(blocks[moves(owner, boxes, self._rng(run))])
