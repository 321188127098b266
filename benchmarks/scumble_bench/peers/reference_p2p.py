"""The reference way: Prompt-to-Prompt on a picture as the published repositories run it.

Written from their documented behaviour (google/prompt-to-prompt, cure-lab/PnPInversion; Hertz et
al. 2022, arXiv:2208.01626; Ju et al. 2023, arXiv:2310.01506). The edits agree with Scumble's.

Rows of a 50-step edit: 450 of a picture (50 to invert it, 200 to find what the source's guided
steps lack to the inversion, 200 to edit), 200 of a generated pair.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from scumble.images import PictureLike
from scumble.schedulers import DDIM
from scumble_bench.peers.local_blend import LocalBlend
from scumble_bench.peers.map_controller import MapController, MapEdit
from scumble_bench.peers.peer import Work
from scumble_bench.peers.reference_run import Reference, ReferenceRun
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

__all__ = ["ReferenceP2P"]


class ReferenceP2P(Reference):
    """Prompt-to-Prompt the reference way."""

    method: ClassVar[str] = "prompt_to_prompt"

    def perform(self, work: Work, picture: PictureLike | None) -> ReferenceRun:
        """Edit a picture, or a generated one, as the work says."""
        return self.edit(
            picture,
            source=work.source or "",
            target=work.target,
            options=work.options,
            steps=work.steps,
            guidance=work.guidance,
            seed=work.seed,
            size=work.size,
            inversion=work.inversion,
        )

    @torch.inference_mode()
    def edit(
        self,
        image: PictureLike | None = None,
        *,
        source: str,
        target: str,
        options: Mapping[str, Any] | None = None,
        steps: int = 50,
        guidance: float = 7.5,
        seed: int = 0,
        size: tuple[int, int] | None = None,
        inversion: str = "direct",
    ) -> ReferenceRun:
        """Edit a picture, or a generated one; the arguments are those of `Editor.edit`.

        Args:
            image: the picture; None generates source and target from one noise.
            source: describes the picture as it is.
            target: describes what it is to become.
            options: of the `prompt_to_prompt` plugin.
            steps: DDIM steps.
            guidance: classifier-free guidance scale.
            seed: of the noise of a generated pair.
            size: (height, width) in pixels; None is the model's native size.
            inversion: `direct` or `ddim`.
        """
        self._rows.clear()
        chosen = PromptToPromptOptions.model_validate(dict(options or {}))
        ddim = DDIM(self._checkpoint.scheduler, steps)
        latent = self.latent_size(size)
        text = self.embed([source, target])
        start, offsets = self.start(image, latent, text, ddim, guidance, seed, inversion)
        controller = self.controller(source, target, options, steps)
        blend = None
        if chosen.blend_words:
            prompts = self._tokenizer.encode(source), self._tokenizer.encode(target)
            blend = LocalBlend(chosen, prompts, self.sites, latent, steps)

        def blended(latents: Tensor, index: int) -> Tensor:
            return latents if blend is None else blend(latents, controller.stored, index)

        latents = self.sampled(start, offsets, text, ddim, guidance, controller, blended)
        return self.finished(latents)

    def controller(
        self, source: str, target: str, options: Mapping[str, Any] | None, steps: int
    ) -> MapController:
        """Return what keeps and edits the maps of one edit; the arguments are those of `edit`."""
        chosen = PromptToPromptOptions.model_validate(dict(options or {}))
        prompts = self._tokenizer.encode(source), self._tokenizer.encode(target)
        like = torch.empty(0, dtype=self._modules.unet.dtype, device=self._modules.unet.device)
        return MapController(MapEdit.of(chosen, *prompts, self.sites, steps, like), self.sites)
