"""What an engine answers: what it loaded, and what a step or a gradient gave."""

from dataclasses import dataclass, field

from scumble.arrays import Floats
from scumble.ports import Group, PortSizes
from scumble.sites import SiteTable

__all__ = ["Gradient", "ModelInfo", "StepOutput"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the host must know of a loaded model.

    Attributes:
        sites: the UNet's sites.
        channels: of a latent.
        factor: pixels for each latent cell along a side.
        tokens: length of the text window.
        features: width of a text embedding.
        pooled: width of a pooled text, of a model whose UNet takes it, else None.
    """

    sites: SiteTable
    channels: int
    factor: int
    tokens: int
    features: int
    pooled: int | None = None

    def sizes(self, latent: tuple[int, int]) -> PortSizes:
        """Return the port axes for a latent of (height, width)."""
        shape = (self.channels, *latent)
        return PortSizes(shape, self.tokens, self.features, self.sites, self.pooled)


@dataclass(frozen=True, slots=True, eq=False)
class StepOutput:
    """What one UNet step gives back.

    Attributes:
        noise: (rows, channels, height, width).
        reads: stride -> (addressable, words, height / stride, width / stride).
        recorded: port name -> handle of the source row's state, for replay.
        bound: the port groups that took effect; the host compares them with what it asked for.
    """

    noise: Floats
    reads: dict[int, Floats] = field(default_factory=dict[int, Floats])
    recorded: dict[str, object] = field(default_factory=dict[str, object])
    bound: frozenset[Group] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """What one gradient gives back.

    Attributes:
        latents: (rows, channels, height, width), the derivative by the sample of the sum of all
            losses, each times its weight.
        losses: of maps, (rows, words, 2), the token term and the space ratio of each term; of a
            match, (rows,), its weight included.
        text: of a match, (rows, tokens, features), the derivative of the same sum by the text.
    """

    latents: Floats
    losses: Floats
    text: Floats | None = None
