"""Around every call of a plugin's code: what it raises is its own, what it does to numpy undone."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np

from scumble.errors import PluginError, ScumbleError

__all__ = ["guarded", "undisturbed"]

Told = Callable[[str], None]


@contextmanager
def undisturbed(tell: Told | None = None) -> Generator[None]:
    """Leave numpy's global generator and its handling of errors as they were.

    Args:
        tell: told what had been changed, in words, if anything was.
    """
    drawn, handling = np.random.get_state(legacy=False), np.geterr()
    try:
        yield
    finally:
        changed: list[str] = []
        if not _same(drawn, np.random.get_state(legacy=False)):
            np.random.set_state(drawn)
            changed.append("global random state")
        if np.geterr() != handling:
            np.seterr(**handling)
            changed.append("handling of errors")
        if changed and tell is not None:
            tell(" and ".join(changed))


@contextmanager
def guarded(who: str, where: str, notes: list[str]) -> Generator[None]:
    """Report what a plugin raises as its own, and note what it disturbs.

    Args:
        who: the plugin, with distribution and version.
        where: the hook, and the step if there is one.
        notes: one sentence is added for each hook that disturbs something.

    Raises:
        PluginError: in place of whatever it raises, but for the errors of Scumble: with these it
            refuses what it is asked for.
    """

    def tell(changed: str) -> None:
        hook = where.partition(" ")[0]
        note = f"{who} changed numpy's {changed} in {hook}; it was put back."
        if note not in notes:
            notes.append(note)

    try:
        with undisturbed(tell):
            yield
    except PluginError as error:
        raise PluginError(f"{who} in {where}: {error}") from error
    except (ScumbleError, KeyboardInterrupt):
        raise
    # It is a stranger's code, and can raise anything; sys.exit, too.
    except BaseException as error:
        raise PluginError(f"{who} raised {type(error).__name__} in {where}: {error}.") from error


def _same(one: Any, other: Any) -> bool:
    """Return whether two states of the generator are equal, arrays and all."""
    if isinstance(one, dict):
        parts = cast("dict[str, Any]", one)
        return parts.keys() == other.keys() and all(_same(parts[key], other[key]) for key in parts)
    return bool(np.array_equal(one, other))
