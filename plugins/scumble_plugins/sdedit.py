"""SDEdit (Meng et al. 2021, arXiv:2108.01073): noise the picture part of the way, and denoise it.

No inversion and no attention: noise of the seed is put on the picture (eq. 3 and algorithm 1), and
the target prompt leads from there. What the noise has not drowned, the coarse more than the fine,
stays; `strength` decides how much that is.

Changes: where the run starts. Leaves alone: attention, text, guidance, latents between steps.
"""

from typing import Annotated

from scumble import (
    Field,
    OptionError,
    Options,
    Plan,
    Plugin,
    RunView,
    Trajectory,
    hookimpl,
    noised_trajectory,
)

__all__ = ["SDEdit", "SDEditOptions"]


class SDEditOptions(Options):
    """Options of SDEdit.

    Attributes:
        strength: share of the steps that are taken: 1 keeps nothing of the picture, 0 all of it.
    """

    strength: Annotated[float, Field(ge=0, le=1)] = 0.8


class SDEdit(Plugin):
    """SDEdit: add noise to the picture and denoise it with the target prompt; no inversion."""

    options_type = SDEditOptions
    options: SDEditOptions

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        """Plan the start: the last `strength` of the steps are taken."""
        if run.image is None:
            raise OptionError("sdedit starts from a picture; give one.")
        if not run.targets:
            raise OptionError("sdedit needs a target prompt.")
        # 0.29 * 100 is 28.999999999999996 in binary; the nudge keeps it 29.
        taken = int(run.steps * self.options.strength + 1e-9)
        if self.options.strength and not taken:
            raise OptionError(
                f"strength {self.options.strength} of {run.steps} steps is no step; raise either."
            )
        return Plan(start=run.steps - taken)

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the picture with one noise on it, at every level."""
        return noised_trajectory(run)
