"""A UNet as a function of its ports: what is traced, compiled and captured, and runs eagerly too."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from scumble.errors import ModelError
from scumble_engines.torch.attention import ControlBus, Controls, PortProcessor, read_gate

__all__ = ["PortedUNet", "Signature", "controls_of"]


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


def controls_of(
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
        processors: Mapping[str, object] = getattr(unet, "attn_processors", {})
        if not any(isinstance(p, PortProcessor) for p in processors.values()):
            raise ModelError("the UNet's attention has no ports; load it with the torch engine.")
        self.unet = unet
        self._bus = bus
        self._signature = signature

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the signature's outputs, noise in the precision of the sample that came in."""
        signature = self._signature
        ports = dict(zip(signature.inputs, inputs, strict=True))
        sample, text = ports["sample"], ports["text"]
        dtype = next(self.unet.parameters()).dtype
        if "source.text" in ports:
            ports["source.text"] = ports["source.text"].to(dtype)
        controls = controls_of(ports, signature.latent, signature.read_sites)
        self._bus.controls = controls
        unet: Any = self.unet
        try:
            noise: Tensor = unet(
                sample.to(dtype),
                ports["timestep"],
                encoder_hidden_states=text.to(dtype),
                return_dict=False,
            )[0]
        finally:
            self._bus.controls = Controls()
        found = {"noise": noise.to(sample.dtype), **controls.recorded}
        found |= {f"read.{stride}": maps for stride, maps in controls.reads.items()}
        return tuple(found[name] for name in signature.outputs)
