"""The typed door to the plugins of one run: the only module that touches pluggy's manager."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pluggy

from scumble.arrays import Floats, read_only, require_finite
from scumble.errors import OptionError, PluginError, ScumbleError
from scumble.hookspecs import (
    BeforeView,
    GuidedNoise,
    Hooks,
    RunView,
    StepView,
    Trajectory,
)
from scumble.plans import Plan
from scumble.plugins import Plugin, load_plugin

__all__ = ["Host"]


class Host:
    """Plugins of one run, asked in the order in which they were named.

    Args:
        plugins: (name, options) pairs; each is loaded by name, and nothing else is imported.
    """

    def __init__(self, plugins: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self._manager = pluggy.PluginManager("scumble")
        self._manager.add_hookspecs(Hooks)
        self._origins: dict[str, str] = {}
        self._installed: list[tuple[str, str, str]] = []
        for name, options in plugins:
            listed, plugin = load_plugin(name, options)
            self._add(name, listed.origin, plugin)
            self._installed.append((name, listed.origin, repr(sorted(options.items()))))

    @classmethod
    def of(cls, **plugins: Plugin) -> "Host":
        """Return a host of plugin instances, for tests and for methods that are not installed."""
        host = cls(())
        for name, plugin in plugins.items():
            host._add(name, "this program", plugin)
        return host

    @property
    def origins(self) -> dict[str, str]:
        """Plugin name -> distribution and version."""
        return dict(self._origins)

    @property
    def identity(self) -> str | None:
        """What the plugins are, with version and options; None if one was given as an object."""
        return repr(self._installed) if len(self._installed) == len(self._origins) else None

    def plan(self, run: RunView) -> list[Plan]:
        """Return every plugin's plan, each marked with its owner."""
        plans: list[Plan] = []
        for name, found in self._each("scumble_plan", run=run):
            if found is None:
                continue
            if not isinstance(found, Plan):
                raise PluginError(f"{self._who(name)}: scumble_plan returned no Plan.")
            plans.append(Plan(found.controls, owner=name))
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
            where = f"{self._who(name)}: scumble_before_step returned"
            if found is None:
                continue
            if not isinstance(found, Mapping):
                raise PluginError(f"{where} no mapping of name to mask at step {step.index}.")
            masks[name] = {}
            for mask, given in cast("Mapping[str, Floats]", found).items():
                array = np.asarray(given)
                if array.shape != run.latent or not np.isin(array, (0, 1)).all():
                    raise PluginError(
                        f"{where} a mask {mask!r} of shape {array.shape} at step {step.index}; "
                        f"a mask is {run.latent} zeros and ones."
                    )
                masks[name][mask] = array.astype(np.float32)
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
        for name, found in self._each("scumble_invert", run=run):
            if not isinstance(found, Trajectory):
                raise PluginError(f"{self._who(name)}: scumble_invert returned no Trajectory.")
            level = () if run.image is None else run.image.shape
            if np.shape(found.latents) != (run.steps + 1, *level):
                raise PluginError(
                    f"{self._who(name)}: a trajectory of {run.steps} steps has {run.steps + 1} "
                    f"levels of {level}; got an array of {np.shape(found.latents)}."
                )
            require_finite(found.latents, f"the trajectory of plugin {name!r}")
            return found
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
            require_finite(latent, f"what plugin {name!r} gave in {where}")
            latents[picture] = np.array(latent, dtype=wanted.dtype)
        return latents

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
        state = np.random.get_state(legacy=False)
        try:
            with np.errstate():  # undoes np.seterr
                return impl.function(**{key: arguments[key] for key in impl.argnames})
        except ScumbleError:
            raise
        # A plugin is a stranger's code: whatever it raises is reported as its own.
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"{self._who(name)} raised {type(error).__name__} in {hook}: {error}."
            ) from error
        finally:
            np.random.set_state(state)

    def _who(self, name: str) -> str:
        return f"plugin {name!r} of {self._origins[name]}"


def _closed(step: BeforeView) -> BeforeView:
    """Return what a plugin is shown of a step: it can be looked at and not changed."""
    return replace(step, latents=read_only(step.latents), reads=read_only(step.reads))


def _closed_noise(noise: GuidedNoise) -> GuidedNoise:
    """Return what a plugin is shown of a picture's noise, likewise."""
    parts = {"unconditional": noise.unconditional, "conditional": noise.conditional}
    return replace(noise, **read_only(parts | {"guided": noise.guided}))
