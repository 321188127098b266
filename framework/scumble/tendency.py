"""Where starting noise would put a word before anything is drawn, and the blocks it is made of.

The picture grows where the noise has a tendency to it (Mao et al. 2023, arXiv:2305.03382): one
look at the noise, at the first step and in the encoder, shows where each word would come to lie. A
block is the part of a latent that lies under one cell of that map, (channels, stride, stride).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self, TypeAlias

import numpy as np
from pydantic import Field

from scumble.arrays import Bools, Floats
from scumble.errors import OptionError
from scumble.hookspecs import RunView
from scumble.prompts import Prompt
from scumble.sites import Site

__all__ = ["BlockGrid", "Box"]

Edge = Annotated[int, Field(ge=0)]
Box: TypeAlias = tuple[Edge, Edge, Edge, Edge]
"""Left, top, right and bottom in pixels; what lies at right and bottom is outside."""


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """A run's noise as blocks, and their tendency to words.

    Attributes:
        run: the run.
        site: the cross-attention whose maps show tendencies; a block is a cell of it.
    """

    run: RunView
    site: Site

    @classmethod
    def of(cls, run: RunView, site: int | None = None) -> Self:
        """Return the grid of a run.

        Args:
            run: the run.
            site: index of a cross-attention; None is the published choice, the encoder's last one
                at 16x16 of the native picture.

        Raises:
            OptionError: there is none.
        """
        sites, stride = run.sites, run.sites.map_stride
        usual = sites.select("cross", places=("down",), strides=(stride,))
        if site is None and not usual:
            raise OptionError(f"the encoder has no map of stride {stride}; name another map.")
        index = usual[-1] if site is None else site
        if index >= sites.count("cross"):
            last = sites.count("cross") - 1
            raise OptionError(f"there is no map {index}; they have numbers 0 to {last}.")
        return cls(run, sites.of("cross")[index])

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return self.site.grid(self.run.latent)

    def tendency(self, noise: Floats, prompt: Prompt, words: Sequence[str]) -> Floats:
        """Return where noise would put words, (words, rows, columns): attention at the first step.

        One cut-short row. Heads and the tokens of a word are averaged.

        Args:
            noise: (channels, height, width).
            prompt: under which it is looked at.
            words: words or phrases of it.

        Raises:
            PromptError: the prompt lacks a word.
        """
        weights = np.zeros((len(words), len(prompt.ids)))
        for row, word in zip(weights, words, strict=True):
            tokens = list(prompt.tokens_of(word))
            row[tokens] = 1 / len(tokens)
        first = int(self.run.scheduler.timesteps[0])
        return self.run.look(noise, first, prompt.text, weights, (self.site.index,))

    def boxed(self, box: Box) -> Bools:
        """Return the blocks that a box touches, (rows, columns) bool.

        Raises:
            OptionError: it is empty, or leaves the picture.
        """
        height, width = (side * self.run.factor for side in self.run.latent)
        left, top, right, bottom = box
        if not (left < right <= width and top < bottom <= height):
            raise OptionError(
                f"a box is {box}; give left, top, right, bottom inside {width}x{height} pixels."
            )
        side = self.run.factor * self.site.stride
        inside = np.zeros(self.size, dtype=bool)
        inside[top // side : -(-bottom // side), left // side : -(-right // side)] = True
        return inside

    def apart(self, layout: Mapping[str, Box]) -> Bools:
        """Return each box's blocks, (boxes, rows, columns); what two share goes to the smaller.

        Raises:
            OptionError: a box is left with none, or leaves the picture.
        """
        found = np.stack([self.boxed(box) for box in layout.values()])
        taken = np.zeros(self.size, dtype=bool)
        for index in np.argsort(found.sum(axis=(1, 2)), kind="stable"):
            found[index] &= ~taken
            taken |= found[index]
            if not found[index].any():
                word = list(layout)[int(index)]
                raise OptionError(f"the box of {word!r} is covered by smaller ones; move it.")
        return found

    def blocks(self, latent: Floats) -> Floats:
        """Return a (channels, height, width) latent as (blocks, channels, stride, stride), by rows.

        Raises:
            OptionError: its sides are no multiples of the stride.
        """
        stride, (rows, columns) = self.site.stride, self.size
        channels, height, width = latent.shape
        if (height, width) != (rows * stride, columns * stride):
            raise OptionError(
                f"a latent of {height}x{width} cells does not divide into blocks of "
                f"{stride}x{stride}; choose another size."
            )
        split = latent.reshape(channels, rows, stride, columns, stride)
        return split.transpose(1, 3, 0, 2, 4).reshape(-1, channels, stride, stride)

    def latent(self, blocks: Floats) -> Floats:
        """Return the (channels, height, width) latent that these blocks make."""
        split = blocks.reshape(*self.size, *blocks.shape[1:])
        return split.transpose(2, 0, 3, 1, 4).reshape(blocks.shape[1], *self.run.latent)

    def cells(self, blocks: Bools) -> Bools:
        """Return the latent's cells that lie in blocks, (height, width) for (rows, columns)."""
        height, width = self.run.latent
        stride = self.site.stride
        return blocks.repeat(stride, axis=0).repeat(stride, axis=1)[:height, :width]
