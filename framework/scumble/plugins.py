"""Plugins: listed without importing, loaded by name, and held to the hooks they may implement."""

import functools
import importlib.metadata
import inspect
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, EntryPoint
from typing import Any, ClassVar, cast

from scumble.errors import OptionError, PluginError
from scumble.hookspecs import Hooks
from scumble.options import Options, check_options
from scumble.strangers import undisturbed

__all__ = [
    "PLUGINS",
    "Listed",
    "NoOptions",
    "Plugin",
    "Trial",
    "check_class",
    "list_entries",
    "load_class",
    "load_entry",
    "load_plugin",
    "options_of",
]

PLUGINS = "scumble.plugins"


class NoOptions(Options):
    """Options of a plugin that has none."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A small run in which a plugin does something: what `scumble plugins test` tries it on.

    Attributes:
        options: with which it changes the picture; none are the defaults.
        neutral: options with which it changes no bit of it; None where there are none such.
        source: describes the picture.
        target: describes what it is to become.
        steps: of the run; options may count on them.
        masks: names of masks that are given, each the left half of the picture; '' has no name.
        picture: whether a picture is edited; False generates the source.
    """

    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    neutral: Mapping[str, Any] | None = None
    source: str = "a room with a green sofa"
    target: str = "a room with a red sofa"
    steps: int = 4
    masks: tuple[str, ...] = ()
    picture: bool = True


class Plugin:
    """Base of every plugin: one method, one file, one instance a run.

    State of a run lives on the instance; nothing outlives the run.

    Attributes:
        options_type: the class of its options; a subclass of `scumble.Options`.
        trial: what it is tried on when it is tested.
    """

    options_type: ClassVar[type[Options]] = NoOptions
    trial: ClassVar[Trial] = Trial()
    options: Any

    def __init__(self, options: Any = None) -> None:
        self.options = self.options_type() if options is None else options

    def takes_mask(self, name: str) -> bool:
        """Return whether the plugin makes use of a mask of this name; '' is that without a name.

        A run whose mask no plugin takes is refused before its first row, so that no mask is
        without effect.
        """
        return False


@dataclass(frozen=True, slots=True)
class Listed:
    """An installed entry point, not yet imported.

    Attributes:
        name: under which the user asks for it.
        distribution: the installed package that brings it.
        version: of the distribution.
        entry: the entry point.
    """

    name: str
    distribution: str
    version: str
    entry: EntryPoint

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}"


def list_entries(group: str = PLUGINS) -> dict[str, tuple[Listed, ...]]:
    """Return what is installed, by name, importing nothing; two of a name are a conflict."""
    return dict(_scanned(group, tuple((path, _changed(path)) for path in sys.path)))


def _changed(path: str) -> int:
    """Return when something was last added to a folder or taken out, as installers do."""
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _scanned(group: str, folders: tuple[tuple[str, int], ...]) -> Mapping[str, tuple[Listed, ...]]:
    """Likewise; `folders` are those looked into, for every edit asks and a scan takes 7 ms."""
    del folders
    found: dict[str, tuple[Listed, ...]] = {}
    # Name and version are parsed each time they are asked for: once a distribution, not an entry.
    origins: dict[Distribution | None, tuple[str, str]] = {}
    for entry in sorted(importlib.metadata.entry_points(group=group), key=lambda e: e.name):
        dist = entry.dist
        if dist not in origins:
            origins[dist] = (dist.name, dist.version) if dist else ("unknown", "unknown")
        listed = Listed(entry.name, *origins[dist], entry)
        others = found.get(entry.name, ())
        # One distribution can be seen twice on sys.path; that is no conflict.
        if not any(other.origin == listed.origin for other in others):
            found[entry.name] = (*others, listed)
    return found


def load_entry(group: str, name: str, kind: str) -> tuple[Listed, Any]:
    """Import one entry point by name.

    Args:
        group: entry-point group.
        name: as the user gave it.
        kind: what it is, for messages: plugin, engine, command.

    Raises:
        OptionError: nothing of that name is installed.
        PluginError: two distributions offer the name, or the import fails.
    """
    installed = list_entries(group)
    if name not in installed:
        known = ", ".join(installed) or "none"
        raise OptionError(f"no {kind} {name!r}; installed: {known}.")
    if len(installed[name]) > 1:
        both = " and ".join(listed.origin for listed in installed[name])
        raise PluginError(f"{kind} {name!r} is offered by {both}; uninstall one of them.")
    (listed,) = installed[name]
    try:
        with undisturbed():
            return listed, listed.entry.load()
    except ModuleNotFoundError as error:
        ours = kind == "engine" and listed.distribution == "scumble"
        hint = f": pip install 'scumble[{name}]'" if ours else ""
        raise PluginError(
            f"{kind} {name!r} of {listed.origin} needs {error.name!r}, which is not installed"
            f"{hint}."
        ) from error
    except KeyboardInterrupt:
        raise
    # A stranger's module can raise anything at import, sys.exit among it; it must not end ours.
    except BaseException as error:
        raise PluginError(
            f"{kind} {name!r} of {listed.origin} cannot be imported: "
            f"{type(error).__name__}: {error}."
        ) from error


def load_plugin(name: str, options: Mapping[str, Any]) -> tuple[Listed, Plugin]:
    """Load a plugin by name and give it its options.

    Raises:
        OptionError: no such plugin, or an option it refuses.
        PluginError: it cannot be imported, is no plugin, or implements an unknown hook.
    """
    listed, found = load_class(name)
    checked = check_options(found.options_type, options, f"plugin {name!r}")
    try:
        with undisturbed():
            return listed, found(checked)
    except (OptionError, PluginError, KeyboardInterrupt):
        raise
    # As above: a constructor is a stranger's code.
    except BaseException as error:
        raise PluginError(
            f"plugin {name!r} of {listed.origin} raised {type(error).__name__}: {error}."
        ) from error


def check_hooks(name: str, origin: str, kind: type[Plugin]) -> None:
    """Raise PluginError if a class implements no hook, or one that does not exist or answer."""
    known = _hook_names(vars(Hooks))
    mine = _hook_names(dir(kind))
    unknown = sorted(mine - known)
    if unknown:
        raise PluginError(
            f"plugin {name!r} of {origin} implements {unknown[0]}, which is no hook; "
            f"hooks: {', '.join(sorted(known))}."
        )
    unmarked = sorted(n for n in mine if not hasattr(getattr(kind, n), "scumble_impl"))
    if unmarked or not mine:
        what = f"{unmarked[0]} without @hookimpl" if unmarked else "no hook"
        raise PluginError(f"plugin {name!r} of {origin} implements {what}.")
    for hook in sorted(mine):
        found = getattr(kind, hook)
        if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
            raise PluginError(
                f"plugin {name!r} of {origin}: {hook} yields, so it never answers; return once."
            )
        if inspect.iscoroutinefunction(found):
            raise PluginError(
                f"plugin {name!r} of {origin}: {hook} is async, and nobody awaits it; use def."
            )


def _hook_names(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith("scumble_")}


def options_of(name: str) -> type[Options]:
    """Return the options class of a plugin, for schemas and help."""
    return load_class(name)[1].options_type


def load_class(name: str) -> tuple[Listed, type[Plugin]]:
    """Return an installed plugin's class, held to the hooks that there are.

    Raises:
        OptionError: no such plugin.
        PluginError: it cannot be imported, is no plugin, or implements an unknown hook.
    """
    listed, found = load_entry(PLUGINS, name, "plugin")
    check_class(name, listed.origin, found)
    return listed, found


def check_class(name: str, origin: str, found: object) -> None:
    """Raise PluginError if something is no class of a plugin.

    Args:
        name: under which it is installed.
        origin: distribution and version.
        found: what its entry point holds.
    """
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise PluginError(f"plugin {name!r} of {origin} is no subclass of scumble.Plugin.")
    options = cast("object", found.options_type)
    if not (isinstance(options, type) and issubclass(options, Options)):
        raise PluginError(
            f"plugin {name!r} of {origin} has an options_type that is no scumble.Options."
        )
    if not isinstance(cast("object", found.trial), Trial):
        raise PluginError(f"plugin {name!r} of {origin} has a trial that is no scumble.Trial.")
    check_hooks(name, origin, found)
