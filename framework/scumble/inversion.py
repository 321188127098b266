"""The walk from a picture to its noise that every inversion starts from."""

import numpy as np

from scumble.arrays import Floats, require_finite
from scumble.errors import OptionError
from scumble.hookspecs import RunView
from scumble.options import Options
from scumble.schedulers import Convention

__all__ = ["InversionOptions", "ddim_trajectory"]


class InversionOptions(Options):
    """Options of every inversion that walks up by DDIM.

    Attributes:
        convention: the timestep told to the UNet: of the level the latent goes to ("target"), or
            of the level it is at ("current").
    """

    convention: Convention = "target"


def ddim_trajectory(run: RunView, convention: Convention = "target") -> Floats:
    """Return DDIM inversion's latents, (steps + 1, channels, height, width), noisiest first.

    The source prompt conditions it, without guidance. A step that is the identity costs no row.

    Args:
        run: with a picture.
        convention: see `DDIM.inverse_timestep`.

    Raises:
        OptionError: the run has no picture.
        NumericalError: NaN or Inf on the way.
    """
    if run.image is None:
        raise OptionError("inversion needs a picture, and this run generates its source.")
    latent = run.image
    levels = [latent]
    for index in reversed(range(run.steps)):
        if not run.scheduler.is_identity(index):
            timestep = run.scheduler.inverse_timestep(index, convention)
            noise = run.predict(latent, timestep, run.source.text)
            latent = run.scheduler.inverse(latent, noise, index, convention)
            require_finite(latent, f"the inverted latent at step {index}")
        levels.append(latent)
    return np.stack(levels[::-1])
