"""Lottery tickets in denoising (Mao, Wang and Aizawa 2023, arXiv:2312.08872): noise from winners.

Some blocks of noise win: they become a word wherever they are put. A store of winners is collected
once, by looking at the first step of many noises under prompts; noise that puts words into boxes
is then built of blocks that win these words, and of blocks that win none. A block is known by the
seed of its noise and its place there, so the store holds no noise.

Departures: thresholds are shares of what was collected and not fixed scores, and words are looked
at under any prompts, not only under pairs of labels.

Changes: the targets' starting noise. Leaves alone: the source, attention, text, latents.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
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
    RunView,
    Trial,
    Words,
    hookimpl,
)

DIGITS = 4
"""Of the scores in a store."""
ALIKE = 0.05
"""Difference of a score that another engine or precision may make."""


class NoiseBlocksOptions(Options):
    """Options of noise made of blocks; boxes are left, top, right, bottom in pixels.

    Attributes:
        layout: word of the targets -> the box it is to come to lie in; where boxes overlap, the
            smaller one has it.
        store: JSON file of blocks collected before; with `collect`, the file to write.
        collect: noises to look at now, a cut-short row for each and each prompt.
        prompts: prompts under which they are looked at; none are the targets.
        win: share of the blocks, those with the highest score, that win a word.
        lose: share, those with the lowest score for each word, that may lie outside the boxes.
        standardize: gives each channel of the built noise mean 0 and spread 1; a departure.
        map_site: the cross-attention whose map gives scores; None is the published choice.
    """

    layout: Annotated[dict[str, Box], Field(min_length=1)]
    store: Path | None = None
    collect: Annotated[int, Field(ge=0, le=100_000)] = 0
    prompts: Words = ()
    win: Annotated[float, Field(gt=0, lt=1)] = 0.05
    lose: Annotated[float, Field(gt=0, lt=1)] = 0.3
    standardize: bool = False
    map_site: Annotated[int, Field(ge=0)] | None = None


class BlockStore(Options):
    """Blocks, by the seed of their noise and their place in it, and how well they do.

    Attributes:
        site: module path of the cross-attention that was looked at.
        size: rows and columns of blocks.
        prompts: under which it was.
        seeds: of the noises.
        scores: word -> for each noise, the tendency of each block.
    """

    site: str
    size: tuple[int, int]
    prompts: tuple[str, ...]
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    scores: dict[str, tuple[tuple[float, ...], ...]]

    def of(self, words: Sequence[str]) -> Floats:
        """Return (words, noises * blocks) scores."""
        return np.array([np.ravel(self.scores[word]) for word in words])


def noise_of(seed: int, shape: Sequence[int]) -> Floats:
    """Return the noise of a seed."""
    return np.random.default_rng(seed).standard_normal(shape)


def scored(grid: BlockGrid, noise: Floats, prompts: Sequence[str], words: Sequence[str]) -> Floats:
    """Return (words, blocks) tendencies of a noise, from 0, its least block, to 1, its greatest.

    A word's is the mean over the prompts that have it.

    Raises:
        PromptError: no prompt has a word.
    """
    found: dict[str, list[Floats]] = {word: [] for word in words}
    encoded = [grid.run.encode(prompt) for prompt in prompts]
    for prompt in encoded:
        held = [word for word in words if prompt.has(word)]
        maps = grid.tendency(noise, prompt, held) if held else ()
        for word, field in zip(held, maps, strict=True):
            raised = field.ravel() - field.min()
            found[word].append(raised / max(float(raised.max()), 1e-30))
    for word in words:
        if not found[word]:
            encoded[0].tokens_of(word)  # says which words there are
    return np.array([np.mean(maps, axis=0) for maps in found.values()])


def pools(scores: Floats, win: float, lose: float) -> tuple[Bools, Bools]:
    """Return (words, n) blocks that win one word alone, and (n,) blocks that lose every word.

    Args:
        scores: (words, n).
        win: share of the highest scores.
        lose: share of the lowest.
    """
    wins = scores >= np.quantile(scores, 1 - win, axis=1, keepdims=True)
    loses = scores <= np.quantile(scores, lose, axis=1, keepdims=True)
    return wins & (wins.sum(axis=0) == 1), np.logical_and.reduce(loses)


def drawn(pool: Bools, count: int, rng: np.random.Generator) -> Indices:
    """Return indices from a pool at random, each again only when all were drawn."""
    indices = np.flatnonzero(pool)
    rounds = -(-count // len(indices))
    return np.concatenate([rng.permutation(indices) for _ in range(rounds)])[:count]


class NoiseBlocks(Plugin):
    """Winning tickets: build the starting noise of blocks that win words, where these shall lie."""

    options_type = NoiseBlocksOptions
    trial = Trial({"layout": {"sofa": (0, 0, 32, 32)}, "collect": 4, "win": 0.2}, picture=False)
    options: NoiseBlocksOptions

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Check what is asked before anything is spent."""
        store, grid = self.options.store, BlockGrid.of(run, self.options.map_site)
        if not run.targets:
            raise OptionError("noise_blocks needs a target prompt.")
        if run.image is not None:
            raise OptionError(
                "noise_blocks makes noise anew, and a picture would be lost; give none."
            )
        for target in run.targets:
            for word in self.options.layout:
                target.tokens_of(word)
        grid.apart(self.options.layout)
        if not self.options.collect:
            self._read(grid)
        elif store is not None and not store.absolute().parent.is_dir():
            raise OptionError(f"{store} is to be written and its folder does not exist; make it.")
        return Plan()

    @hookimpl
    def scumble_initial_noise(
        self, run: RunView, noise: Mapping[int, Floats]
    ) -> Mapping[int, Floats]:
        """Return one noise for all targets, built of blocks."""
        grid, shape = BlockGrid.of(run, self.options.map_site), noise[1].shape
        if self.options.collect:
            store = self._collected(grid, shape)
        else:
            store = self._read(grid)
            self._compare(grid, store, shape)
        return dict.fromkeys(range(1, len(run.targets) + 1), self._built(grid, store, shape))

    def _collected(self, grid: BlockGrid, shape: tuple[int, ...]) -> BlockStore:
        """Return a new store, written to its file if there is to be one."""
        run, words, path = grid.run, list(self.options.layout), self.options.store
        prompts = self.options.prompts or tuple(target.text for target in run.targets)
        drawn_seeds = run.random().spawn(1)[0].integers(2**63, size=self.options.collect)
        seeds = tuple(map(int, drawn_seeds))
        scores = [scored(grid, noise_of(seed, shape), prompts, words) for seed in seeds]
        by_word = np.round(scores, DIGITS).swapaxes(0, 1).tolist()
        store = BlockStore(
            site=grid.site.path,
            size=grid.size,
            prompts=prompts,
            seeds=seeds,
            scores=dict(zip(words, by_word, strict=True)),
        )
        if path is not None:
            part = path.with_name(f"{path.name}.part")
            part.write_text(store.model_dump_json(), encoding="utf-8")
            part.replace(path)
        return store

    def _read(self, grid: BlockGrid) -> BlockStore:
        """Return the store of the file, if it fits the run."""
        path = self.options.store
        if path is None:
            raise OptionError("noise_blocks needs blocks: name a store, or how many to collect.")
        try:
            store = BlockStore.model_validate_json(path.read_text(encoding="utf-8"))
            noises, blocks = len(store.seeds), store.size[0] * store.size[1]
            store.of(list(store.scores)).reshape(len(store.scores), noises * blocks)
        except (OSError, ValueError):
            raise OptionError(
                f"{path} is no store of blocks; name another or collect one."
            ) from None
        for word in self.options.layout:
            if word not in store.scores:
                raise OptionError(f"{path} has no blocks for {word!r}; collect them.")
        if (store.site, store.size) != (grid.site.path, grid.size):
            raise OptionError(f"{path} is of another map or picture size; collect one for this.")
        return store

    def _compare(self, grid: BlockGrid, store: BlockStore, shape: tuple[int, ...]) -> None:
        """Look at the first noise again: another model sees other tendencies."""
        words = list(self.options.layout)
        now = scored(grid, noise_of(store.seeds[0], shape), store.prompts, words)
        if np.abs(store.of(words)[:, : now.shape[1]] - now).max() > ALIKE:
            raise OptionError(f"{self.options.store} is of another model; collect one for this.")

    def _built(self, grid: BlockGrid, store: BlockStore, shape: tuple[int, ...]) -> Floats:
        """Return (channels, height, width) noise of blocks that win in their boxes."""
        words = list(self.options.layout)
        rng = grid.run.random().spawn(2)[1]
        winners, losers = pools(store.of(words), self.options.win, self.options.lose)
        boxes = grid.apart(self.options.layout).reshape(len(words), -1)
        count = boxes.shape[1]
        chosen = np.zeros(count, dtype=np.int64)
        for pool, places, what in zip(
            (*winners, losers), (*boxes, ~boxes.any(axis=0)), (*words, None), strict=True
        ):
            if not places.any():
                continue
            if not pool.any():
                does = "loses every word" if what is None else f"wins {what!r} and no other word"
                raise OptionError(
                    f"no block of {len(store.seeds)} noises {does}; collect more, or raise win and "
                    "lose."
                )
            chosen[places] = drawn(pool, int(places.sum()), rng)
        blocks = np.empty_like(grid.blocks(np.zeros(shape)))
        for index, seed in enumerate(store.seeds):
            here = chosen // count == index
            if here.any():
                blocks[here] = grid.blocks(noise_of(seed, shape))[chosen[here] % count]
        built = grid.latent(blocks)
        if not self.options.standardize:
            return built
        mean, spread = (f(built, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
        return (built - mean) / spread
