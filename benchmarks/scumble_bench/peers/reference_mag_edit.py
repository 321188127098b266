"""The reference way: MAG-Edit on a picture as the released code runs it.

Written from its documented behaviour (Mao et al. 2024, arXiv:2312.11396). Before each early step,
and for each update of the latent, the UNet runs whole on the source and whole on the target, though
the source's latent has not changed and the loss is known half-way. Then source and target take
their step, two rows each. Two things are in its favour: weights are frozen, and the source takes
the recorded latents of DDIM inversion, in place of null-text inversion, which is what Scumble's
`direct` does. The edits agree with Scumble's. Of the options, the ratios `token` and `space`.

A 50-step edit runs 1000 rows (50 to invert, 750 in the updates, 200 in the steps), and takes 375
gradients.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUntypedFunctionDecorator=false

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from scumble.errors import OptionError
from scumble.images import PictureLike, load_picture, mask_to_latent, read_mask
from scumble.schedulers import DDIM
from scumble_bench.peers.mag_control import MagControl, space_loss, token_loss
from scumble_bench.peers.map_controller import MapEdit
from scumble_bench.peers.peer import Work
from scumble_bench.peers.reference_run import Reference, ReferenceRun, forward, require_known
from scumble_plugins.mag_edit import PRESETS, MagEditOptions, on_grid, token_weights
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

__all__ = ["ReferenceMagEdit"]

KNOWN = (
    "words", "kind", "ratio", "iterations", "scale", "guide_window", "cross_window",
    "self_window", "self_stride", "blend_start",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Edit:
    """What all steps of an edit share.

    Attributes:
        options: of the plugin.
        ratio: `token` or `space`.
        mask: (height, width) 0 or 1, at latent size.
        inside: (cells,) likewise, at the size of the maps.
        words: for each word, (tokens,) weights.
        text: (4, tokens, features), without text twice, then of source and target.
        ddim: the run's schedule.
        guidance: classifier-free guidance scale.
        control: of the maps.
    """

    options: MagEditOptions
    ratio: str
    mask: Tensor
    inside: Tensor
    words: list[Tensor]
    text: Tensor
    ddim: DDIM
    guidance: float
    control: MagControl


class ReferenceMagEdit(Reference):
    """MAG-Edit the reference way."""

    method: ClassVar[str] = "mag_edit"

    @torch.no_grad()
    def perform(self, work: Work, picture: PictureLike | None) -> ReferenceRun:
        """Edit a picture as the work says.

        Raises:
            OptionError: no picture, no mask, another inversion than `direct`, or an option other
                than those above.
        """
        self._rows.clear()
        if picture is None or work.mask is None or work.inversion != "direct":
            raise OptionError(
                f"{self.name} edits a picture inside a mask with inversion 'direct'; give these."
            )
        latent = self.latent_size(work.size)
        edit = self._read(work, picture, latent)
        levels = self.invert(self._modules.encode(picture, latent), edit.text[2:3], edit.ddim)
        # The recorded latents were found with the source's text, and lie on the device.
        target, gradients = levels[0], 0
        guided = int(edit.options.guide_window * work.steps + 1e-9)
        for index in range(work.steps):
            edit.control.step = index
            if index < guided and not edit.ddim.is_identity(index):
                for _ in range(edit.options.iterations):
                    target = self._updated(edit, levels[index], target, index)
                gradients += edit.options.iterations
            target = self._stepped(edit, levels[index], target, index)
            if index >= int(edit.options.blend_start * work.steps + 1e-9):
                wide = F.max_pool2d(edit.mask[None, None], 3, stride=1, padding=1) > 0
                target = torch.where(wide, target, levels[index + 1])
        return self.finished(torch.cat([levels[-1], target]), gradients)

    def _updated(self, edit: _Edit, source: Tensor, target: Tensor, index: int) -> Tensor:
        """Return the target's latent, one update down the loss: both pictures run whole."""
        timestep = int(edit.ddim.timesteps[index])
        with self.controlled(edit.control.source):
            self.predict(source, timestep, edit.text[2:3], "updates")
        moving = target.detach().requires_grad_()
        with torch.enable_grad(), self.controlled(edit.control.target):
            self.predict(moving, timestep, edit.text[3:], "updates")
            of_word = token_loss if edit.ratio == "token" else space_loss
            loss = edit.control.loss(
                lambda maps: torch.stack([of_word(maps, w, edit.inside) for w in edit.words]).mean()
            )
        (slope,) = torch.autograd.grad(loss, moving)
        alpha = float(edit.ddim.alphas[index])
        rate = edit.options.scale
        if edit.ratio == "token":
            rate *= ((1 - alpha) / alpha) ** 0.5
        return target - edit.mask * rate * slope

    def _stepped(self, edit: _Edit, source: Tensor, target: Tensor, index: int) -> Tensor:
        """Return the target's next latent: two rows of the source for its maps, then two of it."""
        timestep = int(edit.ddim.timesteps[index])
        with self.controlled(edit.control.source):
            self.predict(source.expand(2, -1, -1, -1), timestep, edit.text[0::2], "edit")
        with self.controlled(edit.control.target):
            rows = self.predict(target.expand(2, -1, -1, -1), timestep, edit.text[1::2], "edit")
        edit.control.seen = []
        unconditional, conditional = rows.chunk(2)
        noise = unconditional + edit.guidance * (conditional - unconditional)
        return forward(edit.ddim, target, noise, index)

    def _read(self, work: Work, picture: PictureLike, latent: tuple[int, int]) -> _Edit:
        """Return an edit's options as the plugin reads them."""
        options = MagEditOptions.model_validate(dict(work.options))
        require_known(self.name, options, KNOWN)
        window, preset = PRESETS[options.kind]
        ratio = options.ratio or preset
        if ratio not in ("token", "space"):
            raise OptionError(f"{self.name} has no ratio {ratio!r}; use 'token' or 'space'.")
        assert work.source is not None
        assert work.mask is not None
        source, target = (self._tokenizer.encode(text) for text in (work.source, work.target))
        text = self.embed([work.source, work.target])
        stride, factor = self.sites.map_stride, self._modules.factor
        size = (latent[0] * factor, latent[1] * factor)
        given = read_mask(work.mask, load_picture(picture).size, fitted=size, how="crop")
        mask = mask_to_latent(given.pixels, latent).astype(np.float32)
        least = options.self_stride or max(1, stride // 2)
        injected = PromptToPromptOptions(
            mode="refine",
            cross_window=options.cross_window,
            self_window=window if options.self_window is None else options.self_window,
            self_stride=least,
        )
        # The maps are of the UNet's type, and so is what is multiplied with them.
        like = torch.empty(0, dtype=self._modules.unet.dtype, device=text.device)
        injection = MapEdit.of(injected, source, target, self.sites, work.steps, like)
        inside = on_grid(mask, stride)[::stride, ::stride].ravel()
        return _Edit(
            options,
            ratio,
            torch.from_numpy(mask).to(text),
            torch.from_numpy(inside).to(like),
            [torch.from_numpy(token_weights(target, word)).to(like) for word in options.words],
            text,
            DDIM(self._checkpoint.scheduler, work.steps),
            work.guidance,
            MagControl(injection, self.sites),
        )
