"""Which plugin does what in an edit: some edit, one may invert, one may make the mask."""

from collections.abc import Callable
from dataclasses import dataclass

from scumble.errors import OptionError
from scumble.host import Host
from scumble.plugins import Plugin
from scumble.requests import EditRequest

__all__ = ["Roles", "cast_roles"]


@dataclass(frozen=True, slots=True)
class Roles:
    """The plugins of one edit, each asked only for what its role is.

    Attributes:
        method: edit, in the order in which they are asked.
        inversion: leads from the picture to its noise; None where the source is generated.
        masking: makes the mask; None where it is given, or the method's own.
    """

    method: Host
    inversion: Host | None
    masking: Host | None

    @property
    def origins(self) -> dict[str, str]:
        """Plugin name -> distribution and version."""
        hosts = (self.method, self.inversion, self.masking)
        return {name: origin for h in hosts if h is not None for name, origin in h.origins.items()}


def cast_roles(
    request: EditRequest,
    method: str | Plugin,
    pictured: bool,
    carried: Callable[[], Plugin] | None = None,
) -> Roles:
    """Return who does what.

    Args:
        request: of the edit.
        method: the plugin's name, or a plugin object.
        pictured: whether a picture is given.
        carried: makes what stands in for an inversion, where an earlier run is gone on from.

    Raises:
        OptionError: options for a plugin object; an inversion for a method that brings its own; a
            masking that makes no masks.
        PluginError: a plugin that cannot be loaded.
    """
    if not isinstance(method, Plugin):
        host = Host([(request.method, request.options)])
    elif request.options:
        raise OptionError("options are given to a plugin object when it is made.")
    else:
        host = Host.of(**{request.method: method})
    for name, options in request.further.items():
        host.join(name, options)
    masking = None
    if request.masking is not None:
        masking = Host([(request.masking, request.masking_options)])
        if not masking.masks:
            raise OptionError(f"plugin {request.masking!r} makes no masks; name another masking.")
    elif request.masking_options:
        raise OptionError("masking_options are given and no masking; name the plugin.")
    return Roles(host, _inversion(request, host, carried) if pictured else None, masking)


def _inversion(request: EditRequest, method: Host, carried: Callable[[], Plugin] | None) -> Host:
    if method.inverts:
        usual = EditRequest.model_fields["inversion"].default
        if request.inversion not in (usual, request.method) or request.inversion_options:
            raise OptionError(
                f"{request.method} leads the picture to noise by itself; leave inversion "
                f"{request.inversion!r} and its options out."
            )
        return method
    if carried is not None:
        return Host.of(carried=carried())
    return Host([(request.inversion, request.inversion_options)])
