"""Direct inversion (Ju et al. 2023, "PnP Inversion", arXiv:2310.01506, algorithm 1).

The paper adds to the source latent, at every step, what it lacks to the recorded DDIM inversion.
The sum is the recorded latent itself, so the source takes that and no offset is ever computed.

Changes: the source latent at every step. Leaves alone: attention, text, the targets.
"""

from scumble import InversionOptions, Plugin, RunView, Trajectory, ddim_trajectory, hookimpl


class DirectInversion(Plugin):
    """Invert by DDIM and hold the source to what was recorded: one row a step."""

    options_type = InversionOptions

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the trajectory, pinned."""
        return Trajectory(ddim_trajectory(run, self.options.convention, pinned=True), pinned=True)
