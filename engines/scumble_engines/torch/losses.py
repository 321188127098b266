"""Losses on cross-attention maps, and the UNet as a function that ends with their gradient."""

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from scumble.engine import GUIDED
from scumble.errors import ControlError
from scumble.ports import inputs_of
from scumble.sites import Site
from scumble_engines.torch.controls import ControlBus, Controls, read_gate

__all__ = ["GuidedUNet", "Losses", "gradient_inputs"]


HALF_SCALE = 2.0**12
"""By which a loss is multiplied on its way back through a UNet in fp16, whose smallest numbers are
as large as these gradients are; a power of two, so that taking it away again is exact."""


class AllSeenError(Exception):
    """Raised behind the last map that a loss sees: the rest of the UNet does not matter."""


@dataclass(slots=True)
class Losses:
    """What a loss asks of the maps, and what it has seen; axes as declared in `scumble.ports`.

    Attributes:
        words: (rows, words, tokens).
        rest: (rows, words, tokens).
        masks: (rows, words, height, width).
        gate: (cross sites,), `loss.sites` over its sum.
        sites: those worth computing; behind the last one the UNet ends.
        seen: (rows, words, 2), the token term and the space ratio so far.
    """

    words: Tensor
    rest: Tensor
    masks: Tensor
    gate: Tensor
    sites: frozenset[int]
    seen: Tensor | None = None

    def see(self, site: Site, maps: Tensor) -> None:
        """Add a site's terms (MAG-Edit, arXiv:2312.11396, eq. 5 and 6, for each head).

        Args:
            site: a cross-attention.
            maps: (rows, heads, cells, tokens) after any mix.
        """
        stride = site.stride
        mask = self.masks[:, :, ::stride, ::stride].flatten(2).transpose(1, 2)[:, None]
        words = maps @ self.words.transpose(1, 2)[:, None]  # (rows, heads, cells, words)
        rest = maps @ self.rest.transpose(1, 2)[:, None]
        share = (mask * words / rest).sum(2) / mask.sum(2)
        token = (1 - share).square().mean(1)
        space = ((mask * words).sum(2) / words.sum(2)).mean(1)
        terms = torch.stack([token, space], dim=-1) * self.gate[site.index]
        self.seen = terms if self.seen is None else self.seen + terms

    def end(self) -> NoReturn:
        """End the forward pass."""
        raise AllSeenError


def gradient_inputs(bus: ControlBus, added: bool) -> tuple[str, ...]:
    """Return the port names of a gradient, in order.

    Args:
        bus: of the UNet.
        added: True for a model that has the ports `scumble.ports.ADDED`.
    """
    state = (f"source.{path}" for path in bus.sites)
    return (*(port.name for port in inputs_of(GUIDED, added)), *state)


class GuidedUNet(nn.Module):
    """A diffusers UNet up to the last map that a loss sees, and back.

    Args:
        unet: with a `PortProcessor` at every attention site.
        bus: what those processors read.
        inputs: port names, in order: those of a gradient.
        latent: (height, width) of the sample.
        sites: cross-attention sites whose maps the loss may see.
        fused: False writes attention out where torch would fuse it, for a graph.
    """

    def __init__(
        self,
        unet: nn.Module,
        bus: ControlBus,
        inputs: tuple[str, ...],
        latent: tuple[int, int],
        sites: frozenset[int],
        *,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.inputs = inputs
        self._bus = bus
        self._latent = latent
        self._sites = sites
        self._fused = fused

    def forward(self, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Return d(sum of weighted losses)/d(sample), and the losses (rows, words, 2).

        Raises:
            ControlError: an attention site that did not run under the controls.
        """
        ports = dict(zip(self.inputs, given, strict=True))
        sample = ports["sample"].detach().requires_grad_()
        with torch.enable_grad():
            losses = self._losses({**ports, "sample": sample})
            scale = HALF_SCALE if self._dtype == torch.float16 else 1.0
            total = (ports["loss.weights"] * losses).sum() * scale
            (gradient,) = torch.autograd.grad(total, sample)
        return gradient / scale, losses.detach()

    @property
    def _dtype(self) -> torch.dtype:
        return next(self.unet.parameters()).dtype

    def _losses(self, ports: dict[str, Tensor]) -> Tensor:
        dtype = self._dtype
        gate = read_gate(ports["loss.sites"])
        assert gate is not None
        losses = Losses(
            ports["loss.words"], ports["loss.rest"], ports["loss.masks"], gate, self._sites
        )
        controls = Controls(
            latent=self._latent,
            route=ports["route"],
            mix_source=ports["mix.source"],
            mix_own=ports["mix.own"],
            mix_row=ports["mix.row"],
            mix_sites=ports["mix.sites"],
            source_text=ports["source.text"].to(dtype),
            source={name: port for name, port in ports.items() if name.startswith("source.")},
            losses=losses,
            fused=self._fused,
        )
        added = None
        if "added.text" in ports:
            added = {"text_embeds": ports["added.text"], "time_ids": ports["added.size"]}
        self._bus.controls = controls
        unet: Any = self.unet
        try:
            unet(
                ports["sample"].to(dtype),
                ports["timestep"],
                encoder_hidden_states=ports["text"].to(dtype),
                added_cond_kwargs=added,
            )
        except AllSeenError:
            pass
        finally:
            self._bus.controls = Controls()
        self._require_every_site(controls)
        assert losses.seen is not None
        return losses.seen

    def _require_every_site(self, controls: Controls) -> None:
        """Raise unless every site up to the last map ran, and applied all that it was asked."""
        found = [path for what, path in controls.visited if what == "site"]
        edited = {
            what: sum(w == what for w, _ in controls.visited) for what in ("route", "mix", "replay")
        }
        halves = {"route": (len(found) + 1) // 2, "mix": len(found) // 2, "replay": len(found)}
        seen = sum(what == "loss" for what, _ in controls.visited)
        whole = tuple(found) == self._bus.sites[: len(found)] and seen == len(self._sites)
        if not whole or edited != halves:
            raise ControlError(
                f"a gradient saw {seen} of {len(self._sites)} maps behind {len(found)} attention "
                "sites; their processors were replaced after loading: load the model anew."
            )
