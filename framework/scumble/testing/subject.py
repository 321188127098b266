"""A plugin that is put to the test, and the small runs that it is tried on."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from scumble.arrays import Array, Bools, Floats
from scumble.engine import Engine
from scumble.hookspecs import RunView, StepView, hookimpl
from scumble.host import Host
from scumble.options import check_options
from scumble.pipeline import Finished
from scumble.plugins import NoOptions, Plugin, Trial, check_class, load_class
from scumble.session import Session
from scumble.testing.contracts import run_plugin
from scumble.testing.fake_gradient import GuidedFakeEngine
from scumble.testing.fake_model import fake_session, words_of

__all__ = ["Subject", "difference"]

SIDE = 64
"""Pixels of the picture's sides; it is fitted to the model's."""


class Blended(Plugin):
    """Takes the source outside the mask: what a plugin that only makes masks is tried with."""

    def takes_mask(self, name: str) -> bool:
        """Take the mask without a name."""
        return not name

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> Mapping[int, Floats]:
        """Return each target, with the source's latent outside the mask."""
        inside = np.ones(run.latent) if run.mask is None else run.mask
        return {
            picture: np.where(inside > 0, latent, step.latents[0])
            for picture, latent in step.latents.items()
            if picture
        }


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A plugin's class, under its name.

    Attributes:
        name: as it is installed, or the class's own.
        installed: whether it is one that is installed.
        kind: the class.
        picture: (height, width, 3) uint8 that is edited.
    """

    name: str
    installed: bool
    kind: type[Plugin]
    picture: Array = field(default_factory=lambda: blocks(7))

    @classmethod
    def of(cls, plugin: str | type[Plugin]) -> "Subject":
        """Return an installed plugin by its name, or one that is not installed by its class.

        Raises:
            OptionError: nothing of that name is installed.
            PluginError: it cannot be loaded, or its hooks are none.
        """
        if isinstance(plugin, str):
            return cls(plugin, True, load_class(plugin)[1])
        check_class(plugin.__name__, "this program", plugin)
        return cls(plugin.__name__, False, plugin)

    @property
    def trial(self) -> Trial:
        """The run that it is tried on."""
        return self.kind.trial

    @property
    def edits(self) -> bool:
        """Whether it has a say in a run beside inverting and making masks."""
        hooks = {name for name in dir(self.kind) if name.startswith("scumble_")}
        return bool(hooks - {"scumble_invert", "scumble_mask"})

    @property
    def inverts(self) -> bool:
        """Whether all it does is to invert."""
        return not self.edits and hasattr(self.kind, "scumble_invert")

    def made(self, options: Mapping[str, Any]) -> Plugin:
        """Return an instance.

        Raises:
            OptionError: it refuses the options.
        """
        return self.kind(check_options(self.kind.options_type, options, f"plugin {self.name!r}"))

    def host(self, options: Mapping[str, Any]) -> Host:
        """Return a host of it alone, loaded by its name where it is installed."""
        if self.installed:
            return Host([(self.name, options)])
        return Host.of(**{self.name: self.made(options)})

    def state(self) -> dict[str, str]:
        """Return the class's attributes that are no functions, as text."""
        return {
            name: repr(value)
            for name, value in vars(self.kind).items()
            if not callable(value) and not name.startswith("__")
        }

    def masks(self) -> dict[str, Bools]:
        """Return the trial's masks, by name: the left half of the picture."""
        left = np.zeros(self.picture.shape[:2], dtype=bool)
        left[:, : SIDE // 2] = True
        return dict.fromkeys(self.trial.masks, left)

    def run(
        self,
        options: Mapping[str, Any] | None,
        *,
        seed: int = 0,
        session: Session | None = None,
        reduce: bool = True,
    ) -> Finished:
        """Run the trial.

        Args:
            options: of the plugin; None runs without it.
            seed: of the run.
            session: a model to run on, in place of one on the fake engine with gradients.
            reduce: False turns the planner's reductions off.

        Raises:
            ScumbleError: as any run does.
        """
        mine = None if options is None else self.host(options)
        host, inversion, masking = mine, None, None
        if mine is not None and self.inverts:
            host, inversion = None, mine
        elif mine is not None and not self.edits:
            host, masking = Host.of(blended=Blended(NoOptions())), mine
        with self.model(session) as model:
            return run_plugin(
                host,
                source=self.trial.source,
                targets=(self.trial.target,),
                steps=self.trial.steps,
                image=self.picture if self.trial.picture else None,
                mask=cast("dict[str, Any]", self.masks()),
                inversion=inversion,
                masking=masking,
                reduce=reduce,
                seed=seed,
                session=model,
            )

    @contextmanager
    def model(
        self, session: Session | None = None, engine: type[Engine] = GuidedFakeEngine
    ) -> Generator[Session]:
        """Give a session as it is, or else a fake one that knows the words of the trial.

        Args:
            session: what is given.
            engine: of the fake one.
        """
        if session is not None:
            yield session
            return
        words = sorted(words_of(self.trial.source, self.trial.target))
        with TemporaryDirectory() as folder:
            yield fake_session(folder, engine, words=words)


def difference(one: Finished, other: Finished) -> float:
    """Return the largest difference of a latent, of the pictures that are wanted."""
    return max(
        float(np.abs(one.latents[picture] - other.latents[picture]).max()) for picture in one.pixels
    )


def blocks(seed: int) -> Array:
    """Return a picture of coloured blocks, (64, 64, 3) uint8, no two alike."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return colours.repeat(SIDE // 8, axis=0).repeat(SIDE // 8, axis=1)
