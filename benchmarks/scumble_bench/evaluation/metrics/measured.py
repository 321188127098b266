"""Metrics as they are called: facts and protocol around what does the arithmetic."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scumble.pixels import Pixels
from scumble_bench.evaluation.metrics.metric import MaskPixels, MetricFacts
from scumble_bench.evaluation.metrics.pictures import Floats, Frames, frames
from scumble_bench.evaluation.metrics.protocol import MetricProtocol

__all__ = ["Measured", "of_edited", "of_kept", "of_structure", "of_whole"]

Measure = Callable[[Frames, str], float]
"""Measures an edit and its prompt."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A `Metric`.

    Attributes:
        facts: what is known of it.
        protocol: how edits are prepared.
        measure: does the arithmetic.
    """

    facts: MetricFacts
    protocol: MetricProtocol
    measure: Measure

    @property
    def name(self) -> str:
        """The name in `METRICS`."""
        return self.facts.name

    @property
    def needs(self) -> tuple[str, ...]:
        """Names out of `FILES`."""
        return self.facts.needs

    @property
    def scale(self) -> float:
        """A value is multiplied by it for tables."""
        return self.facts.scale

    def __call__(self, source: Pixels, edited: Pixels, mask: MaskPixels, prompt: str) -> float:
        """Measure an edit; see `Metric`."""
        return self.measure(frames(source, edited, mask, self.protocol), prompt)


def of_kept(distance: Callable[[Floats, Floats], float]) -> Measure:
    """Measures what was to stay; NaN if nothing was."""

    def measure(edit: Frames, _prompt: str) -> float:
        kept = edit.kept()
        return math.nan if kept is None else distance(*kept)

    return measure


def of_structure(distance: Callable[[Pixels, Pixels], float]) -> Measure:
    """Measures whole pictures against each other."""
    return lambda edit, _prompt: distance(edit.source, edit.edited)


def of_whole(similarity: Callable[[Pixels, str], float]) -> Measure:
    """Measures the whole edit against the prompt."""
    return lambda edit, prompt: similarity(edit.edited, prompt)


def of_edited(similarity: Callable[[Pixels, str], float]) -> Measure:
    """Measures what was to change, the rest black, against the prompt; NaN if nothing was."""

    def measure(edit: Frames, prompt: str) -> float:
        changed = edit.changed()
        return math.nan if changed is None else similarity(changed, prompt)

    return measure
