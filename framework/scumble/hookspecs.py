"""The hooks: named moments of a run at which the host asks plugins. None lies inside attention."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NoReturn

import numpy as np
import pluggy

from scumble.arrays import Floats, Indices
from scumble.errors import EngineError
from scumble.plans import Plan
from scumble.schedulers import DDIM
from scumble.sites import SiteTable
from scumble.words import Prompt

__all__ = [
    "BeforeView",
    "GuidedNoise",
    "Hooks",
    "RunView",
    "StepView",
    "Trajectory",
    "hookimpl",
    "hookspec",
]

hookspec = pluggy.HookspecMarker("scumble")
hookimpl = pluggy.HookimplMarker("scumble")

Predict = Callable[[Floats, int, str], Floats]
Look = Callable[[Floats, int, str, Floats, tuple[int, ...]], Floats]
Encode = Callable[[str], Prompt]
Embed = Callable[[str], Floats]
PredictRows = Callable[[Floats, Indices, Sequence[str | Floats]], Floats]
PredictSource = Callable[[Floats, int], Floats]
Match = Callable[[Floats, int, Floats, Floats, float], tuple[float, Floats]]


def _without_model(*_: object) -> NoReturn:
    raise EngineError("this view of a run was made without a model; ask one that a run gives.")


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """An inversion: latents that lead from noise to the given picture, and what the way back needs.

    Attributes:
        latents: (steps + 1, channels, height, width); level 0 is the noisiest, the last is clean.
        pinned: True makes the source row take the recorded latent at every step (direct
            inversion); False lets it run freely from where the run begins.
        noises: (steps, channels, height, width) of variance 1, that every picture's step adds, by
            `scumble.noised`; None adds none.
        eta: of those steps.
        embeddings: what the unconditional rows see in place of the run's own text: a prompt, or
            (steps, tokens, features), one a step; None leaves it.
    """

    latents: Floats
    pinned: bool
    noises: Floats | None = None
    eta: float = 1.0
    embeddings: str | Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RunView:
    """What a plugin may know of a run; all arrays are read-only.

    Attributes:
        steps: sampling steps.
        guidance: classifier-free guidance scale; 1 is none.
        source: the source prompt.
        targets: the target prompts, one picture each.
        sites: the UNet's sites.
        latent: (height, width) of a latent.
        scheduler: noise levels and DDIM steps.
        seed: of every random draw of the run.
        image: (channels, height, width) latent of the given picture; None if it is generated.
        mask: (height, width) 0 or 1, the user's mask at latent size, or None.
        masks: name -> (height, width) 0 or 1, further masks that the user named.
        predict: noise of a (channels, height, width) latent at a training timestep under a prompt,
            without guidance; each call costs one row.
        look: (k, height / stride, width / stride) attention of a latent at a training timestep
            under a prompt, for (k, tokens) weights, mean over heads and the given cross-attention
            sites; each call costs one row, that stops at the last of these where an engine can.
        encode: another prompt, cut into words and tokens as the run's own are.
        factor: pixels for each latent cell along a side.
        start: the first step that is taken, known once the plans are; no level before it is used.
        unconditional: the text of the unconditional rows, unless the inversion gives another.
        embed: (tokens, features) of a prompt, as the UNet takes it.
        predict_rows: as `predict`, of (rows, channels, height, width) latents at (rows,) timesteps;
            each row's text is a prompt, or (tokens, features). They run as few calls as the engine
            takes; each row costs one.
        predict_source: as `predict`, of a (channels, height, width) latent at a step under the
            source prompt. If the trajectory is pinned and has this latent at this step, the source
            row was run by that, and the edit replays it.
        match: loss weight * mean((predicted - noise)^2) of a latent at a timestep under (tokens,
            features) of text, for a noise of the latent's shape and a weight; and its derivative by
            the text. Each call costs one gradient.
        trajectory: of the given picture, once it is inverted.
    """

    steps: int
    guidance: float
    source: Prompt
    targets: tuple[Prompt, ...]
    sites: SiteTable
    latent: tuple[int, int]
    scheduler: DDIM
    seed: int
    image: Floats | None
    mask: Floats | None
    masks: Mapping[str, Floats]
    predict: Predict
    look: Look
    encode: Encode
    factor: int = 8
    start: int = 0
    unconditional: str = ""
    embed: Embed = _without_model
    predict_rows: PredictRows = _without_model
    predict_source: PredictSource = _without_model
    match: Match = _without_model
    trajectory: Trajectory | None = None

    def __post_init__(self) -> None:
        # One plugin must not change what the next one is shown.
        object.__setattr__(self, "masks", MappingProxyType(dict(self.masks)))

    def random(self) -> np.random.Generator:
        """Return a fresh generator, seeded by the run; use no other source of randomness."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class StepView:
    """What a plugin may know of a step that was just taken.

    Attributes:
        index: 0 is the noisiest.
        latents: picture -> (channels, height, width) after the scheduler's step.
        reads: name of a `Read` control -> (k, height, width).
    """

    index: int
    latents: Mapping[int, Floats]
    reads: Mapping[str, Floats] = field(default_factory=dict[str, Floats])


@dataclass(frozen=True, slots=True, eq=False)
class BeforeView:
    """What a plugin may know of a step that is about to be taken.

    Attributes:
        index: 0 is the noisiest.
        timestep: that the UNet will be told.
        latents: picture -> (channels, height, width) that the step starts from.
        reads: name of a `Read` control -> (k, height, width), as the step before saw it.
    """

    index: int
    timestep: int
    latents: Mapping[int, Floats]
    reads: Mapping[str, Floats] = field(default_factory=dict[str, Floats])


@dataclass(frozen=True, slots=True, eq=False)
class GuidedNoise:
    """The noise of one picture at one step; each array is (channels, height, width).

    Attributes:
        picture: 0 is the source.
        unconditional: of the row without text.
        conditional: of the row with text.
        guided: unconditional + guidance (conditional - unconditional), or what a plugin made of it.
        reads: name of a `Read` control -> (k, height, width), as this very step sees it.
        also: name of an `Also` control of this picture -> the noise of its row.
    """

    picture: int
    unconditional: Floats
    conditional: Floats
    guided: Floats
    reads: Mapping[str, Floats] = field(default_factory=dict[str, Floats])
    also: Mapping[str, Floats] = field(default_factory=dict[str, Floats])


class Hooks:
    """Every hook and its contract; plugins are asked in the order in which the user named them.

    The plugin that inverts comes before the method.
    """

    @hookspec
    def scumble_mask(self, run: RunView) -> Mapping[str, Floats] | None:
        """Return masks that the run's plugins find as if the user had given them, by name.

        Called once a run, before `scumble_plan`, where the user gives no mask: on the plugin named
        by `masking`, or else on the method itself. A mask is (height, width) 0 or 1 at latent size,
        1 where the picture may change; the name '' is that of the mask without a name. None gives
        no mask.
        """

    @hookspec
    def scumble_plan(self, run: RunView) -> Plan | None:
        """Return the edit as data.

        Called once a run, before inversion and the first step. None changes nothing.
        """

    @hookspec
    def scumble_initial_noise(
        self, run: RunView, noise: Mapping[int, Floats]
    ) -> Mapping[int, Floats] | None:
        """Return latents to start from in place of those given, by picture.

        Called once a run, after inversion and before the first step. Each plugin sees what the one
        before it returned. The source of a run whose source latents are recorded keeps its own.
        None, or a picture left out, changes nothing.
        """

    @hookspec
    def scumble_before_step(self, run: RunView, step: BeforeView) -> Mapping[str, Floats] | None:
        """Return masks that `Region` controls of the plan refer to by name.

        Called once a step, before the UNet. A mask is (height, width) 0 or 1 at latent size. A name
        that a control of the plugin's own plan needs at this step and that is not given is an
        error. A picture whose latent the hook reads must be named in a `Watch` control.
        """

    @hookspec
    def scumble_guidance(self, run: RunView, step: BeforeView, noise: GuidedNoise) -> Floats | None:
        """Return the noise with which a picture takes a step.

        Called once a step for each picture that moves by classifier-free guidance. Each plugin
        sees in `noise.guided` what the one before it returned. None changes nothing.
        """

    @hookspec
    def scumble_after_step(self, run: RunView, step: StepView) -> Mapping[int, Floats] | None:
        """Return latents to put in place of those a step arrived at, by picture.

        Called once a step, after the scheduler. Each plugin sees what the one before it returned.
        None, or a picture left out, changes nothing. A picture whose latent the hook reads must be
        named in a `Watch` control of the plan, or it may not be up to date.
        """

    @hookspec
    def scumble_invert(self, run: RunView) -> Trajectory | None:
        """Return a trajectory that ends in the given picture.

        Called once a run, and only when a picture is given: on the method itself where it has this
        hook, and else on the one plugin named by `inversion`. Levels before `run.start` are not
        used, and may repeat the one there. The run it is shown has no targets and masks, for it
        serves every edit of the picture.
        """
