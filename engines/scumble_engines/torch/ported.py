"""A UNet as a function of its ports: what is traced, compiled and captured, and runs eagerly too.

Running it notes what each site applied; a compiled or captured form applies what was noted when it
was made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from scumble.errors import ControlError
from scumble.ports import CONTROL_GROUPS, Group, groups_of, inputs_of
from scumble.sites import Site, SiteTable
from scumble_engines.torch.attention import PortProcessor
from scumble_engines.torch.controls import ControlBus, Controls, read_gate

__all__ = [
    "PortedUNet",
    "Signature",
    "Visits",
    "attach_ports",
    "attachments",
    "bound_groups",
    "signature_of",
]

Visits = Sequence[tuple[str, str]]
"""(what was applied, path of the site), in order; every attention says `site` first."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a ported UNet takes and gives.

    Attributes:
        inputs: port names, in order.
        outputs: `noise`, `read.<stride>` and `source.<site path>`, in order; without `noise`, what
            lies behind the last output is not part of the graph.
        latent: (height, width) of the sample.
        read_sites: cross-attention sites whose maps are worth computing.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    latent: tuple[int, int]
    read_sites: frozenset[int] = frozenset()

    @property
    def groups(self) -> frozenset[Group]:
        """The port groups beside the plain ports."""
        return groups_of(self.inputs)


def signature_of(
    groups: frozenset[Group],
    sites: SiteTable,
    latent: tuple[int, int],
    read_sites: frozenset[int],
    added: bool = False,
) -> Signature:
    """Return the signature of a step with these port groups.

    Args:
        groups: beside the plain ports.
        sites: of the UNet.
        latent: (height, width) of the sample.
        read_sites: cross-attention sites to read; their strides are outputs.
        added: True for a model that has the ports `scumble.ports.ADDED`.
    """
    assert groups <= set(CONTROL_GROUPS)
    inputs = [port.name for port in inputs_of(groups, added)]
    strides = sorted({sites.of("cross")[site].stride for site in read_sites})
    outputs = ["noise", *(f"read.{stride}" for stride in strides)]
    states = [f"source.{site.path}" for site in _attention(sites)]
    inputs += states if "replay" in groups else []
    outputs += states if "record" in groups else []
    return Signature(tuple(inputs), tuple(outputs), latent, read_sites)


def _controls_of(
    ports: Mapping[str, Tensor], latent: tuple[int, int], read_sites: frozenset[int]
) -> Controls:
    """Return what the attention is asked for by the ports of a step."""
    return Controls(
        latent=latent,
        route=ports.get("route"),
        mix_source=ports.get("mix.source"),
        mix_own=ports.get("mix.own"),
        mix_row=ports.get("mix.row"),
        mix_sites=ports.get("mix.sites"),
        read_weights=ports.get("read.weights"),
        read_gate=read_gate(ports.get("read.sites")),
        read_sites=read_sites,
        feature_route=ports.get("feature_route"),
        region_query=ports.get("region.query"),
        region_key=ports.get("region.key"),
        region_sites=ports.get("region.sites"),
        join_row=ports.get("join.row"),
        join_sites=ports.get("join.sites"),
        record_row=ports.get("record.row"),
        source_text=ports.get("source.text"),
        source={name: port for name, port in ports.items() if name.startswith("source.")},
    )


class PortedUNet(nn.Module):
    """A diffusers UNet whose controls are the arguments of `forward`.

    Args:
        unet: with a `PortProcessor` at every attention site.
        bus: what those processors read.
        signature: the names of what it takes and gives.
    """

    def __init__(self, unet: nn.Module, bus: ControlBus, signature: Signature) -> None:
        super().__init__()
        self.unet = unet
        self.signature = signature
        self._bus = bus

    @property
    def visits(self) -> Visits:
        """What each site applied in the last run."""
        return self._bus.visits

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the signature's outputs, noise in the precision of the sample that came in.

        Raises:
            ControlError: an attention site that did not run under the controls.
        """
        signature = self.signature
        ports = dict(zip(signature.inputs, inputs, strict=True))
        sample, text = ports["sample"], ports["text"]
        dtype = next(self.unet.parameters()).dtype
        if "source.text" in ports:
            ports["source.text"] = ports["source.text"].to(dtype)
        added = None
        if "added.text" in ports:
            added = {"text_embeds": ports["added.text"], "time_ids": ports["added.size"]}
        controls = _controls_of(ports, signature.latent, signature.read_sites)
        self._bus.controls = controls
        unet: Any = self.unet
        try:
            noise: Tensor = unet(
                sample.to(dtype),
                ports["timestep"],
                encoder_hidden_states=text.to(dtype),
                added_cond_kwargs=added,
                return_dict=False,
            )[0]
        finally:
            self._bus.controls = Controls()
            self._bus.visits = tuple(controls.visited)
        self._require_every_site()
        found = {"noise": noise.to(sample.dtype), **controls.recorded}
        found |= {f"read.{stride}": maps for stride, maps in controls.reads.items()}
        return tuple(found[name] for name in signature.outputs)

    def _require_every_site(self) -> None:
        found = tuple(path for what, path in self.visits if what == "site")
        wanted = self._bus.sites
        if found != wanted:
            raise ControlError(
                f"{len(found)} of {len(wanted)} attention sites ran through Scumble; "
                "their processors were replaced after loading: load the model anew."
            )


def attach_ports(unet: nn.Module, sites: SiteTable, bus: ControlBus) -> None:
    """Put a port processor at every attention site, and a hook at every resnet."""
    modules = dict(unet.named_modules())
    for site in sites:
        module = modules[site.path]
        if site.kind == "resnet":
            conv = cast("nn.Module", module.conv2)
            conv.register_forward_hook(_FeatureHook(site, bus))
        else:
            cast("Any", module).set_processor(PortProcessor(site, bus))
    bus.sites = tuple(site.path for site in _attention(sites))


def attachments(unet: nn.Module, sites: SiteTable) -> tuple[int, ...]:
    """Return the identities of what carries out the ports, to be compared with later ones.

    Of each attention its processor and projections, of each resnet its convolution and hooks: a
    compiled or captured step does not see that they were replaced.
    """
    found: list[int] = []
    for site in sites:
        module = cast("Any", unet.get_submodule(site.path))
        if site.kind == "resnet":
            hooks = module.conv2._forward_hooks.values()
            found.extend(map(id, (module.conv2, *hooks)))
        else:
            found.extend(map(id, (module.processor, *module.children(), *module.to_out)))
    return tuple(found)


def bound_groups(signature: Signature, visits: Visits, sites: SiteTable) -> frozenset[Group]:
    """Return the groups of a step that every site they concern has applied."""
    seen: dict[str, int] = {}
    for what, _ in visits:
        seen[what] = seen.get(what, 0) + 1
    attention = sites.count("self") + sites.count("cross")
    wanted: dict[Group, int] = {
        "route": sites.count("self"),
        "region": sites.count("self"),
        "join": sites.count("self"),
        "mix": sites.count("cross"),
        "read": len(signature.read_sites),
        "feature": sites.count("resnet"),
        "record": attention,
        "replay": attention,
    }
    return frozenset(g for g in signature.groups if seen.get(g, 0) == wanted[g])


class _FeatureHook:
    """Routes the rows of one resnet's second convolution."""

    def __init__(self, site: Site, bus: ControlBus) -> None:
        self._site = site
        self._bus = bus

    def __call__(self, _module: nn.Module, _given: object, output: Tensor) -> Tensor:
        controls = self._bus.controls
        if controls.feature_route is None:
            return output
        controls.visited.append(("feature", self._site.path))
        return output.index_select(0, controls.feature_route[self._site.index])


def _attention(sites: SiteTable) -> tuple[Site, ...]:
    """Return the attention sites in execution order."""
    pairs = zip(sites.of("self"), sites.of("cross"), strict=True)
    return tuple(site for pair in pairs for site in pair)
