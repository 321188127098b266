"""DDIM inversion (Song et al. 2021, arXiv:2010.02502; Dhariwal and Nichol 2021, sec. F).

The picture is carried up the noise schedule with the source prompt and no guidance; the source row
then samples freely from the noise reached. Under guidance it drifts from the picture.

Changes: the starting noise. Leaves alone: attention, text, latents between steps.
"""

from scumble import InversionOptions, Plugin, RunView, Trajectory, ddim_trajectory, hookimpl


class DDIMInversion(Plugin):
    """Invert by DDIM and let the source run freely: one row a step."""

    options_type = InversionOptions

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the trajectory, not pinned."""
        return Trajectory(ddim_trajectory(run, self.options.convention), pinned=False)
