"""Plug-and-Play (Tumanyan et al. 2023, arXiv:2211.12572): another look, the same form.

The target takes from the source, at the same step, the features of one decoder resnet (section 4,
eq. 2) and the queries and keys, hence the maps, of the decoder's self-attention; values and text
are its own. The source's row sees no text, and both of the target's rows take from it, as in the
authors' diffusers code.

Changes: the targets' features and self-attention. Leaves alone: the source, text, guidance, latents
between steps. The authors also fade a negative prompt in; use `negative` for one that stays.
"""

from collections.abc import Sequence
from typing import Annotated

from scumble import (
    Branch,
    Control,
    FeatureRoute,
    Field,
    OptionError,
    Options,
    Plan,
    Plugin,
    Route,
    RunView,
    Trial,
    hookimpl,
    steps_between,
)

__all__ = ["PlugAndPlay", "PlugAndPlayOptions"]

Share = Annotated[float, Field(ge=0, le=1)]
Index = Annotated[int, Field(ge=0)]
SOURCE = Branch(0, "")
FIRST_LAYER = 8 / 16
"""Self-attention from the second of the decoder on, in Stable Diffusion 1 and 2."""
RESNET = 4 / 12
"""The fifth resnet of the decoder: `up_blocks.1.resnets.1` of Stable Diffusion 1 and 2."""


class PlugAndPlayOptions(Options):
    """Options of Plug-and-Play; a share is of the steps, from the noisiest on.

    Attributes:
        features: how long features are taken from the source.
        attention: how long queries and keys are.
        resnets: numbers of the resnets whose features are taken; none named is the decoder's fifth
            of 12, and likewise of others.
        layers: numbers of the self-attentions; none named is from 8 of 16 on, and likewise of
            others.
    """

    features: Share = 0.8
    attention: Share = 0.5
    resnets: tuple[Index, ...] = ()
    layers: tuple[Index, ...] = ()


def within(named: Sequence[int], count: int, what: str) -> tuple[int, ...]:
    """Return the numbers that are named, rising and once each.

    Raises:
        OptionError: one is beyond the count.
    """
    found = sorted(set(named))
    if found[-1] >= count:
        raise OptionError(f"{what} names {found[-1]}, and this model has 0 to {count - 1}.")
    return tuple(found)


class PlugAndPlay(Plugin):
    """Plug-and-Play: keep a picture's form by its features and self-attention, change its look."""

    options_type = PlugAndPlayOptions
    trial = Trial(neutral={"features": 0, "attention": 0})
    options: PlugAndPlayOptions

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the routes of every target's two rows."""
        if not run.targets:
            raise OptionError("plug_and_play needs a target prompt.")
        options = self.options
        on = {
            name: steps_between(run.steps, 0, int(run.steps * share + 1e-9))
            for name, share in (("features", options.features), ("attention", options.attention))
        }
        for name, taken in on.items():
            if getattr(options, name) and not taken.any():
                raise OptionError(
                    f"{name} {getattr(options, name)} of {run.steps} steps is no step; raise it."
                )
        controls: list[Control] = []
        for picture in range(1, len(run.targets) + 1):
            for text in (True, False):
                branch = Branch(picture, text)
                if on["features"].any():
                    resnets = self._resnets(run)
                    controls.append(FeatureRoute(branch, SOURCE, resnets, on["features"]))
                if on["attention"].any():
                    layers = self._layers(run)
                    route = Route(branch, on["attention"], layers, query=SOURCE, key=SOURCE)
                    controls.append(route)
        return Plan(tuple(controls))

    def _resnets(self, run: RunView) -> tuple[int, ...]:
        """Return the resnets whose features are taken."""
        if self.options.resnets:
            return within(self.options.resnets, run.sites.count("resnet"), "resnets")
        decoder = run.sites.select("resnet", places=("up",))
        if not decoder:
            raise OptionError("this model has no resnet in its decoder; name some as resnets.")
        return (decoder[int(RESNET * len(decoder))],)

    def _layers(self, run: RunView) -> tuple[int, ...]:
        """Return the self-attentions whose maps are taken."""
        count = run.sites.count("self")
        if self.options.layers:
            return within(self.options.layers, count, "layers")
        return tuple(range(round(FIRST_LAYER * count), count))
