"""What a UNet is told of a prompt: the state of every token and, of some models, a pooled one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from scumble.arrays import Array, Floats

__all__ = ["Embedding", "text_ports"]


class Embedding(NamedTuple):
    """Prompts, as an engine's text encoders give them.

    Attributes:
        states: (prompts, tokens, features); of two encoders, their features side by side.
        pooled: (prompts, pooled), of a model whose UNet takes it (SDXL), else None.
    """

    states: Floats
    pooled: Floats | None = None

    def of(self, prompt: int) -> "Embedding":
        """Return one prompt's: states (tokens, features) and pooled (pooled,)."""
        pooled = None if self.pooled is None else self.pooled[prompt]
        return Embedding(self.states[prompt], pooled)


def text_ports(prompts: Sequence[Embedding], size: tuple[int, int]) -> dict[str, Array]:
    """Return the ports that tell a UNet its prompts, a row each.

    A model that was trained on crops is told of a picture of the size it makes, with nothing cut
    off (Podell et al. 2023, arXiv:2307.01952, section 2.2): original (height, width), crop (top,
    left), target (height, width).

    Args:
        prompts: of each row; states (tokens, features), pooled (pooled,).
        size: (height, width) of the picture in pixels.
    """
    ports: dict[str, Array] = {"text": np.stack([prompt.states for prompt in prompts])}
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    if pooled:
        ports["added.text"] = np.stack(pooled)
        ports["added.size"] = np.tile(np.array([*size, 0.0, 0.0, *size]), (len(pooled), 1))
    return ports
