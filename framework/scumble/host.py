"""The typed door to the plugins of one run: the only module that touches pluggy's manager."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pluggy

from scumble.arrays import Floats, read_only, require_finite
from scumble.errors import OptionError, PluginError
from scumble.hookspecs import (
    BeforeView,
    GuidedNoise,
    Hooks,
    RunView,
    StepView,
    Trajectory,
)
from scumble.inversion import check_trajectory
from scumble.plans import Plan
from scumble.plugins import Plugin, load_plugin
from scumble.strangers import guarded

__all__ = ["Host"]

_STEP = (StepView, BeforeView)


class Host:
    """Plugins of one run, asked in the order in which they were named.

    Args:
        plugins: (name, options) pairs; each is loaded by name, and nothing else is imported.
    """

    def __init__(self, plugins: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self._manager = pluggy.PluginManager("scumble")
        self._manager.add_hookspecs(Hooks)
        self._origins: dict[str, str] = {}
        self.notes: list[str] = []
        self._installed: list[tuple[str, str, str]] = []
        for name, options in plugins:
            self.join(name, options)

    @classmethod
    def of(cls, **plugins: Plugin) -> "Host":
        """Return a host of plugin instances, for tests and for methods that are not installed."""
        host = cls(())
        for name, plugin in plugins.items():
            host._add(name, "this program", plugin)
        return host

    def join(self, name: str, options: Mapping[str, Any]) -> None:
        """Load one more plugin, to be asked after those that are there."""
        listed, plugin = load_plugin(name, options)
        self._add(name, listed.origin, plugin)
        self._installed.append((name, listed.origin, repr(sorted(options.items()))))

    @property
    def origins(self) -> dict[str, str]:
        """Plugin name -> distribution and version."""
        return dict(self._origins)

    @property
    def identity(self) -> str | None:
        """What the plugins are, with version and options; None if one was given as an object."""
        return repr(self._installed) if len(self._installed) == len(self._origins) else None

    def followed_by(self, other: "Host") -> "Host":
        """Return a host of these plugins and then another's; a plugin in both is asked once."""
        both = Host(())
        for host in (self, other):
            for name, origin in host._origins.items():
                plugin = host._manager.get_plugin(name)
                if not both._manager.is_registered(plugin):
                    both._add(name, origin, cast("Plugin", plugin))
        return both

    @property
    def inverts(self) -> bool:
        """Whether a plugin brings its own way from the picture to its noise."""
        return bool(self._names("scumble_invert"))

    @property
    def masks(self) -> bool:
        """Whether a plugin makes masks."""
        return bool(self._names("scumble_mask"))

    def mask(self, run: RunView) -> dict[str, Floats]:
        """Return the masks that plugins make for a run, by name; of one name, the first one's."""
        masks: dict[str, Floats] = {}
        for name, found in self._each("scumble_mask", run=run):
            if found is not None:
                masks = self._masks(name, "scumble_mask", found, run.latent) | masks
        return masks

    def plan(self, run: RunView) -> list[Plan]:
        """Return every plugin's plan, each marked with its owner.

        Raises:
            OptionError: the run has a mask that none of them takes.
        """
        self._require_taken([*([] if run.mask is None else [""]), *run.masks])
        plans: list[Plan] = []
        for name, found in self._each("scumble_plan", run=run):
            if found is None:
                continue
            if not isinstance(found, Plan):
                raise PluginError(f"{self._who(name)}: scumble_plan returned no Plan.")
            plans.append(replace(found, owner=name))
        return plans

    def initial_noise(self, run: RunView, noise: Mapping[int, Floats]) -> dict[int, Floats]:
        """Return the latents to start from after every plugin had its say."""
        latents = dict(noise)
        for name in self._names("scumble_initial_noise"):
            found = self._call(
                "scumble_initial_noise", name, {"run": run, "noise": read_only(latents)}
            )
            latents |= self._latents(name, "scumble_initial_noise", found, noise)
        return latents

    def before_step(self, run: RunView, step: BeforeView) -> dict[str, dict[str, Floats]]:
        """Return the masks that plugins give for a step, plugin -> name -> (height, width)."""
        masks: dict[str, dict[str, Floats]] = {}
        for name in self._names("scumble_before_step"):
            found = self._call("scumble_before_step", name, {"run": run, "step": _closed(step)})
            if found is not None:
                where, when = "scumble_before_step", f" at step {step.index}"
                masks[name] = self._masks(name, where, found, run.latent, when)
        return masks

    @property
    def guides(self) -> bool:
        """Whether a plugin has a say in guidance."""
        return bool(self._names("scumble_guidance"))

    def guidance(self, run: RunView, step: BeforeView, noise: GuidedNoise) -> Floats:
        """Return a picture's noise after every plugin had its say."""
        where = f"scumble_guidance at step {step.index}"
        for name in self._names("scumble_guidance"):
            told = {"run": run, "step": _closed(step), "noise": _closed_noise(noise)}
            found = self._call("scumble_guidance", name, told)
            given = None if found is None else {noise.picture: found}
            changed = self._latents(name, where, given, {noise.picture: noise.guided})
            noise = replace(noise, guided=changed.get(noise.picture, noise.guided))
        return noise.guided

    def after_step(self, run: RunView, step: StepView) -> dict[int, Floats]:
        """Return the latents after every plugin had its say."""
        latents = dict(step.latents)
        for name in self._names("scumble_after_step"):
            view = StepView(step.index, read_only(latents), read_only(step.reads))
            found = self._call("scumble_after_step", name, {"run": run, "step": view})
            where = f"scumble_after_step at step {step.index}"
            latents |= self._latents(name, where, found, step.latents)
        return latents

    def invert(self, run: RunView) -> Trajectory:
        """Return the trajectory of the plugin that inverts.

        Raises:
            PluginError: none of the plugins inverts, or it returned something else.
        """
        self.require_inversion()
        name, found = next(self._each("scumble_invert", run=run))
        if not isinstance(found, Trajectory):
            raise PluginError(f"{self._who(name)}: scumble_invert returned no Trajectory.")
        check_trajectory(found, run, self._who(name))
        return found

    def require_inversion(self) -> None:
        """Raise PluginError if none of the plugins inverts."""
        if not self.inverts:
            raise PluginError(f"none of {', '.join(self._origins) or 'no plugins'} can invert.")

    def _add(self, name: str, origin: str, plugin: Plugin) -> None:
        if name in self._origins:
            raise OptionError(f"plugin {name!r} is named twice; name it once.")
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginError(f"plugin {name!r} of {origin}: {error}.") from error
        self._origins[name] = origin

    def _latents(
        self, name: str, where: str, found: object, known: Mapping[int, Floats]
    ) -> dict[int, Floats]:
        """Return the latents that a hook gave, of the shapes and dtypes of those known."""
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise PluginError(f"{self._who(name)}: {where} gave no mapping of picture to latent.")
        latents: dict[int, Floats] = {}
        for picture, latent in cast("Mapping[int, Floats]", found).items():
            wanted = known.get(picture)
            if wanted is None or np.shape(latent) != wanted.shape:
                raise PluginError(
                    f"{self._who(name)}: {where} gave picture {picture} of shape "
                    f"{np.shape(latent)}."
                )
            require_finite(latent, f"what {self._who(name)} gave in {where}")
            latents[picture] = np.array(latent, dtype=wanted.dtype)
        return latents

    def _masks(
        self, name: str, where: str, found: object, latent: tuple[int, int], when: str = ""
    ) -> dict[str, Floats]:
        """Return the masks that a hook gave, by name."""
        who = f"{self._who(name)}: {where} returned"
        if not isinstance(found, Mapping):
            raise PluginError(f"{who} no mapping of name to mask{when}.")
        masks: dict[str, Floats] = {}
        for mask, given in cast("Mapping[str, Floats]", found).items():
            array = np.asarray(given)
            if array.shape != latent or not np.isin(array, (0, 1)).all():
                raise PluginError(
                    f"{who} a mask {mask!r} of shape {array.shape}{when}; a mask is {latent} "
                    "zeros and ones."
                )
            masks[mask] = array.astype(np.float32)
        return masks

    def _each(self, hook: str, **arguments: object) -> Any:
        for name in self._names(hook):
            yield name, self._call(hook, name, arguments)

    def _names(self, hook: str) -> list[str]:
        """Return who implements a hook, first named first (pluggy keeps them last first)."""
        return [impl.plugin_name for impl in getattr(self._manager.hook, hook).get_hookimpls()]

    def _call(self, hook: str, name: str, arguments: Mapping[str, object]) -> object:
        (impl,) = [
            impl
            for impl in getattr(self._manager.hook, hook).get_hookimpls()
            if impl.plugin_name == name
        ]
        if os.environ.get("SCUMBLE_TRACE"):
            print(f"scumble: {hook} -> {name}", file=sys.stderr)
        step = arguments.get("step")
        where = f"{hook} at step {step.index}" if isinstance(step, _STEP) else hook
        with guarded(self._who(name), where, self.notes):
            return impl.function(**{key: arguments[key] for key in impl.argnames})

    def _require_taken(self, masks: Sequence[str]) -> None:
        """Refuse a mask that no plugin makes use of."""
        for mask in masks:
            if not any(self._takes(name, mask) for name in self._origins):
                which = f"named {mask!r}" if mask else "without a name"
                take = "take" if len(self._origins) > 1 else "takes"
                raise OptionError(
                    f"{' and '.join(self._origins) or 'this run'} {take} no mask {which}, so it "
                    "would do nothing; leave it out."
                )

    def _takes(self, name: str, mask: str) -> bool:
        plugin: Any = self._manager.get_plugin(name)
        with guarded(self._who(name), "takes_mask", self.notes):
            return bool(plugin.takes_mask(mask))

    def _who(self, name: str) -> str:
        return f"plugin {name!r} of {self._origins[name]}"


def _closed(step: BeforeView) -> BeforeView:
    """Return what a plugin is shown of a step: it can be looked at and not changed."""
    return replace(step, latents=read_only(step.latents), reads=read_only(step.reads))


def _closed_noise(noise: GuidedNoise) -> GuidedNoise:
    """Return what a plugin is shown of a picture's noise, likewise."""
    parts = {"unconditional": noise.unconditional, "conditional": noise.conditional}
    shut = read_only(parts | {"guided": noise.guided})
    return replace(noise, **shut, reads=read_only(noise.reads), also=read_only(noise.also))
