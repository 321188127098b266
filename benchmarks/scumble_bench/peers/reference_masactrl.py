"""The reference way: MasaCtrl on a picture as the published repositories run it.

Written from their documented behaviour (TencentARC/MasaCtrl, cure-lab/PnPInversion; Cao et al.
2023, arXiv:2304.08465). The edits agree with Scumble's. Of the options, start step and layer and
explicit steps and layers; no masks.

Rows of a 50-step edit: 450 of a picture with direct inversion, as PnPInversion runs it (50 to
invert, 200 to find what the source's guided steps lack, 200 to edit); 250 with `ddim`, where the
source runs freely, as MasaCtrl's own code does (which spends 50 more on guiding its inversion from
the empty prompt to the empty prompt; these are not counted against it); 200 of a generated pair.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUntypedFunctionDecorator=false

from typing import ClassVar

import torch

from scumble.errors import OptionError
from scumble.images import PictureLike
from scumble.schedulers import DDIM
from scumble_bench.peers.mutual_control import MutualControl
from scumble_bench.peers.peer import Work
from scumble_bench.peers.reference_run import Reference, ReferenceRun, require_known
from scumble_plugins.masactrl import START_LAYER, START_STEP, MasaCtrlOptions, chosen

__all__ = ["ReferenceMasaCtrl"]

KNOWN = ("start_step", "start_layer", "steps", "layers")


class ReferenceMasaCtrl(Reference):
    """MasaCtrl the reference way."""

    method: ClassVar[str] = "masactrl"

    @torch.inference_mode()
    def perform(self, work: Work, picture: PictureLike | None) -> ReferenceRun:
        """Edit a picture, or a generated one, as the work says.

        Raises:
            OptionError: of an option other than those above, a mask, or no guidance.
        """
        self._rows.clear()
        if work.mask is not None:
            raise OptionError(f"{self.name} takes no mask; leave it out, or time Scumble alone.")
        if work.source is None or work.guidance == 1:
            raise OptionError(f"{self.name} needs a source prompt and guidance; try 7.5.")
        ddim = DDIM(self._checkpoint.scheduler, work.steps)
        text = self.embed([work.source, work.target])
        start, offsets = self.start(
            picture, self.latent_size(work.size), text, ddim, work.guidance, work.seed,
            work.inversion,
        )  # fmt: skip
        control = self.control(work)
        return self.finished(self.sampled(start, offsets, text, ddim, work.guidance, control))

    def control(self, work: Work) -> MutualControl:
        """Return what lets the target ask the source, with the plugin's options."""
        options = MasaCtrlOptions.model_validate(dict(work.options))
        require_known(self.name, options, KNOWN)
        steps = chosen(options.steps, options.start_step, START_STEP, work.steps)
        layers = chosen(options.layers, options.start_layer, START_LAYER, self.sites.count("self"))
        return MutualControl(steps, layers)
