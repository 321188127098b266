"""The way from a picture to its noise that runs no UNet: noise of the seed, level by level."""

import numpy as np

from scumble.errors import OptionError
from scumble.hookspecs import RunView, Trajectory

__all__ = ["noised_trajectory"]


def noised_trajectory(run: RunView, *, fresh: bool = False) -> Trajectory:
    """Return a picture with noise of the run's seed on it, at every level; pinned.

    That is SDEdit's q(x_t | x_0) (arXiv:2108.01073, eq. 3). The last level is the picture itself.

    Args:
        run: with a picture.
        fresh: noise of its own for each level; else one for all.

    Raises:
        OptionError: the run has no picture.
    """
    if run.image is None:
        raise OptionError("noise is added to a picture, and this run generates its source.")
    count = run.steps if fresh else 1
    drawn = run.random().standard_normal((count, *run.image.shape)).astype(run.image.dtype)
    levels = [
        run.scheduler.add_noise(run.image, drawn[level % count], level)
        for level in range(run.steps)
    ]
    return Trajectory(np.stack([*levels, run.image]), pinned=True)
