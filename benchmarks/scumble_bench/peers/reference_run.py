"""What the reference ways have in common: every row at every step, everything anew for each edit.

Written from the documented behaviour of the published repositories (google/prompt-to-prompt,
TencentARC/MasaCtrl, cure-lab/PnPInversion; Ju et al. 2023, arXiv:2310.01506), to have something to
time Scumble against: diffusers modules, and Python attention processors at every site with each
probability map in memory. What an edit does to the maps is a control's.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from scumble.arrays import Array
from scumble.errors import OptionError
from scumble.images import PictureLike
from scumble.models import Checkpoint
from scumble.options import Options
from scumble.schedulers import DDIM
from scumble.words import Tokenizer
from scumble_bench.peers.compiling import BACKEND, torch_compiled
from scumble_bench.peers.loading import Modules, load_modules, noise_of
from scumble_bench.peers.map_attention import KeyControl, MapControl, install
from scumble_bench.peers.peer import PeerPrecision, PeerRun, Picture, Work
from scumble_engines.torch.sites import sites_of

__all__ = ["Reference", "ReferenceRun", "forward", "require_known"]


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceRun:
    """One finished edit.

    Attributes:
        latents: (2, channels, height, width), source and target.
        pixels: (height, width, 3) uint8 of source and target.
        rows: row evaluations by stage, such as `inversion`, `offsets`, `edit`.
        gradients: taken.
    """

    latents: Array
    pixels: tuple[Array, Array]
    rows: dict[str, int]
    gradients: int = 0


class Reference:
    """A checkpoint edited the reference way.

    Args:
        modules: of the checkpoint; the UNet's attention processors are replaced.
        checkpoint: for its tokenizer and noise schedule.
        compiled: whether the UNet runs under `torch.compile`, broken off at every attention site
            while a control is in force.
        backend: of `torch.compile`.
    """

    method: ClassVar[str]
    engine: ClassVar[str] = "torch"

    def __init__(
        self,
        modules: Modules,
        checkpoint: Checkpoint,
        *,
        compiled: bool = False,
        backend: str = BACKEND,
    ) -> None:
        self._modules = modules
        self._checkpoint = checkpoint
        self._compiled = compiled
        self._tokenizer = Tokenizer.load(checkpoint.tokenizer)
        self._slot = install(modules.unet, compiled=compiled)
        self._unet: Any = torch_compiled(modules.unet, backend) if compiled else modules.unet
        self._rows: Counter[str] = Counter()
        self.sites = sites_of(modules.unet)

    @classmethod
    def load(
        cls,
        model: str | Path = "rooms",
        precision: PeerPrecision = "fp32",
        threads: int | None = None,
        device: str = "cpu",
        **settings: Any,
    ) -> Self:
        """Load a checkpoint.

        Args:
            model: a registered name or a diffusers folder.
            precision: of the UNet.
            threads: of torch, for the whole process.
            device: `cpu` or `cuda`.
            settings: further arguments of the class: compiled, backend.
        """
        return cls(*load_modules(model, precision, threads, device), **settings)

    @property
    def name(self) -> str:
        """As the registry has it."""
        return f"reference {self.method}" + " compiled" * self._compiled

    def run(self, work: Work, picture: Picture | None = None) -> PeerRun:
        """Do all of the work anew; see `Peer.run`."""
        if work.method != self.method or work.source is None:
            raise OptionError(f"{self.name} was given work of {work.method!r}; give it its own.")
        done = self.perform(work, picture)
        return PeerRun(done.latents, done.rows, done.gradients, done.pixels[1])

    def perform(self, work: Work, picture: PictureLike | None) -> ReferenceRun:
        """Edit a picture as the work says."""
        raise NotImplementedError

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return (2 n, tokens, features): the empty prompt n times, then the n prompts."""
        ids = np.stack([self._tokenizer.encode(p).ids for p in [""] * len(prompts) + [*prompts]])
        device = self._modules.unet.device
        return self._modules.text_encoder(torch.from_numpy(ids).to(device))[0]

    def guided(
        self,
        latents: Tensor,
        timestep: int,
        text: Tensor,
        guidance: float,
        control: MapControl | KeyControl | None,
    ) -> Tensor:
        """Return guided noise of (pictures, channels, height, width) latents; two rows a picture.

        Args:
            latents: of the pictures.
            timestep: what the UNet is told.
            text: as `embed` returns it for as many prompts.
            guidance: classifier-free guidance scale.
            control: sees every site; None leaves them as they are, which is not an edit.
        """
        stage = "offsets" if control is None else "edit"
        with self.controlled(control):
            rows = self.predict(torch.cat([latents, latents]), timestep, text, stage)
        unconditional, conditional = rows.chunk(2)
        return unconditional + guidance * (conditional - unconditional)

    @contextmanager
    def controlled(self, control: MapControl | KeyControl | None) -> Generator[None]:
        """Put a control in force, and take it out whatever happens."""
        self._slot.control = control
        try:
            yield
        finally:
            self._slot.control = None

    def predict(self, latents: Tensor, timestep: int, text: Tensor, stage: str) -> Tensor:
        """Return the noise of (rows, channels, height, width), of their type, booked to a stage."""
        dtype = self._modules.unet.dtype
        self._rows[stage] += len(latents)
        noise = self._unet(latents.to(dtype), timestep, encoder_hidden_states=text.to(dtype))
        return noise.sample.to(latents.dtype)

    def latent_size(self, size: tuple[int, int] | None) -> tuple[int, int]:
        """Return (height, width) of the latent of a picture; None is the native size."""
        if size is None:
            return self.sites.native
        factor = self._modules.factor
        return size[0] // factor, size[1] // factor

    def start(
        self,
        image: PictureLike | None,
        latent: tuple[int, int],
        text: Tensor,
        ddim: DDIM,
        guidance: float,
        seed: int,
        inversion: str = "direct",
    ) -> tuple[Tensor, list[Tensor] | None]:
        """Return the latent to start from, and what each step of the source lacks, or None.

        Args:
            image: to be inverted; None draws noise.
            latent: (height, width).
            text: as `embed` returns it for source and target.
            ddim: the run's schedule.
            guidance: of the edit.
            seed: of the noise.
            inversion: `direct` finds what the source's guided steps lack to the inverted latents,
                `ddim` leaves them as they are.
        """
        if inversion not in ("direct", "ddim"):
            raise OptionError(f"inversion is {inversion!r}; {self.name} knows direct and ddim.")
        if image is None:
            return noise_of(seed, (1, self._modules.channels, *latent), text), None
        levels = self.invert(self._modules.encode(image, latent), text[2:3], ddim)
        if inversion == "ddim":
            return levels[0], None
        return levels[0], self._offsets(levels, text, ddim, guidance)

    def sampled(
        self,
        start: Tensor,
        offsets: Sequence[Tensor] | None,
        text: Tensor,
        ddim: DDIM,
        guidance: float,
        control: Any,
        blend: Callable[[Tensor, int], Tensor] | None = None,
    ) -> Tensor:
        """Return source and target after every step with a control, (2, channels, height, width).

        Args:
            start: of both, as `start` gives it, with the offsets.
            offsets: likewise.
            text: of source and target.
            ddim: the run's schedule.
            guidance: classifier-free guidance scale.
            control: of the edit; it is told of the end of each step.
            blend: given both latents after a step, and its index.
        """
        latents = start.expand(2, -1, -1, -1)
        for index in range(ddim.steps):
            noise = self.guided(latents, int(ddim.timesteps[index]), text, guidance, control)
            control.end_step()
            latents = forward(ddim, latents, noise, index)
            if offsets is not None:
                latents = torch.cat([latents[:1] + offsets[index], latents[1:]])
            if blend is not None:
                latents = blend(latents, index)
        return latents

    def finished(self, latents: Tensor, gradients: int = 0) -> ReferenceRun:
        """Return the run that ends with source and target, decoded."""
        source, target = self._modules.decode(latents)
        return ReferenceRun(latents.cpu().numpy(), (source, target), dict(self._rows), gradients)

    def invert(self, clean: Tensor, text: Tensor, ddim: DDIM) -> list[Tensor]:
        """Return DDIM inversion's latents, noisiest first, each (1, channels, height, width)."""
        levels = [clean]
        for index in reversed(range(ddim.steps)):
            noise = self.predict(levels[-1], ddim.inverse_timestep(index), text, "inversion")
            above = ddim.inverse(levels[-1].cpu().numpy(), noise.cpu().numpy(), index)
            levels.append(torch.from_numpy(above).to(clean))
        return levels[::-1]

    def _offsets(
        self, levels: list[Tensor], text: Tensor, ddim: DDIM, guidance: float
    ) -> list[Tensor]:
        """Return what each guided step of the source lacks to the inverted latent.

        Both prompts are run, as published, though only the source's half is used.
        """
        found: list[Tensor] = []
        for index in range(ddim.steps):
            both = levels[index].expand(2, -1, -1, -1)
            noise = self.guided(both, int(ddim.timesteps[index]), text, guidance, None)
            found.append(levels[index + 1] - forward(ddim, both, noise, index)[:1])
        return found


def forward(ddim: DDIM, latents: Tensor, noise: Tensor, index: int) -> Tensor:
    """Return `DDIM.forward` of tensors."""
    moved = ddim.forward(latents.cpu().numpy(), noise.cpu().numpy(), index)
    return torch.from_numpy(moved).to(latents)


def require_known(name: str, options: Options, known: Collection[str]) -> None:
    """Raise OptionError if an option that a peer does not know is other than the plugin's default.

    Args:
        name: of the peer.
        options: of the plugin, checked.
        known: names of options.
    """
    given = options.model_dump(exclude_defaults=True)
    odd = sorted(set(given) - set(known))
    if odd:
        raise OptionError(f"{name} has no {odd[0]}; leave it out, or time Scumble alone.")
