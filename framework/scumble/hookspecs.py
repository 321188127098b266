"""The hooks: named moments of a run at which the host asks plugins. None lies inside attention."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pluggy

from scumble.arrays import Floats
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
    """

    picture: int
    unconditional: Floats
    conditional: Floats
    guided: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """An inversion: latents that lead from noise to the given picture.

    Attributes:
        latents: (steps + 1, channels, height, width); level 0 is the noisiest, the last is clean.
        pinned: True makes the source row take the recorded latent at every step (direct
            inversion); False lets it run freely from level 0.
    """

    latents: Floats
    pinned: bool


class Hooks:
    """Every hook and its contract; plugins are asked in the order in which the user named them."""

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

        Called once a run, and only when a picture is given, on the one plugin named by `inversion`.
        """
