"""What a graph is built for: a compute capability, or the GPU at hand."""

from dataclasses import dataclass
from typing import Any

from scumble.errors import EngineError, OptionError
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.library import Library

__all__ = ["CURRENT", "Target", "read_targets", "target_of"]

CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of GPU to build for.

    Attributes:
        name: such as `sm89`, or the GPU's own name where TensorRT knows no such word for it.
        capability: member of TensorRT's `ComputeCapability`; None where it has none.
    """

    name: str
    capability: Any = None


def target_of(library: Library, device: Device) -> Target:
    """Return the target under which a GPU's graphs are built and found.

    A capability that TensorRT builds for by name is the same target with and without the GPU.
    """
    major, minor = device.capability
    name = f"sm{major}{minor}"
    if name in library.capabilities:
        return Target(name, library.capabilities[name])
    return Target(device.name, library.at_hand)


def read_targets(text: str, library: Library, device: Device | None) -> tuple[Target, ...]:
    """Return targets from `sm89,sm120` or `current`.

    Args:
        text: as the user gave it.
        library: what builds.
        device: the GPU at hand, or None.

    Raises:
        OptionError: no target of that name.
        EngineError: `current`, and there is no GPU.
    """
    found: list[Target] = []
    for name in (part.strip().lower() for part in text.split(",")):
        target = _read(name, library, device)
        if target not in found:
            found.append(target)
    return tuple(found)


def _read(name: str, library: Library, device: Device | None) -> Target:
    known = library.capabilities
    if name == CURRENT:
        if device is None:
            named = f"; name a target: {', '.join(known)}" if known else ""
            raise EngineError(
                f"target {CURRENT!r} is the GPU of this machine, and it has no NVIDIA GPU with a "
                f"working driver{named}."
            )
        return target_of(library, device)
    if name not in known:
        offered = ", ".join((*known, CURRENT))
        raise OptionError(
            f"{library.name} {library.version} has no target {name!r}; it builds for {offered}."
        )
    return Target(name, known[name])
