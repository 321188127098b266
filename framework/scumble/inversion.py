"""The walk from a picture to its noise, and what is asked of an inversion's trajectory."""

import numpy as np

from scumble.arrays import Floats, require_finite
from scumble.errors import OptionError, PluginError
from scumble.hookspecs import RunView, Trajectory
from scumble.options import Options
from scumble.schedule import Schedule
from scumble.schedulers import Convention

__all__ = ["InversionOptions", "check_trajectory", "ddim_trajectory", "require_told"]


class InversionOptions(Options):
    """Options of every inversion that walks up by DDIM.

    Attributes:
        convention: the timestep told to the UNet: of the level the latent goes to ("target"), or
            of the level it is at ("current").
    """

    convention: Convention = "target"


def ddim_trajectory(
    run: RunView, convention: Convention = "target", *, pinned: bool = False
) -> Floats:
    """Return DDIM inversion's latents, (steps + 1, channels, height, width), noisiest first.

    The source prompt conditions it, without guidance. A step that is the identity costs no row, nor
    does one that the run does not take: levels before its start repeat the one there.

    Args:
        run: with a picture.
        convention: see `DDIM.inverse_timestep`.
        pinned: whether the source will be held to these latents. Told the timestep of the level
            that a latent is at, the UNet then computes what the source row would, and the edit
            need not run it there.

    Raises:
        OptionError: the run has no picture.
        NumericalError: NaN or Inf on the way.
    """
    if run.image is None:
        raise OptionError("inversion needs a picture, and this run generates its source.")
    latent = run.image
    levels = [latent]
    for index in reversed(range(run.start, run.steps)):
        if not run.scheduler.is_identity(index):
            timestep = run.scheduler.inverse_timestep(index, convention)
            if pinned and timestep in run.scheduler.timesteps[index + 1 : index + 2]:
                noise = run.predict_source(latent, index + 1)
            else:
                noise = run.predict(latent, timestep, run.source.text)
            latent = run.scheduler.inverse(latent, noise, index, convention)
            require_finite(latent, f"the inverted latent at step {index}")
        levels.append(latent)
    return np.stack([latent] * run.start + levels[::-1])


def check_trajectory(found: Trajectory, run: RunView, who: str) -> None:
    """Refuse a trajectory whose arrays do not fit the run.

    Args:
        found: what a plugin returned.
        run: what it was shown.
        who: the plugin and its distribution, for messages.

    Raises:
        PluginError: an array of another shape, or an eta out of range.
        NumericalError: NaN or Inf in one.
    """
    level = () if run.image is None else run.image.shape
    if np.shape(found.latents) != (run.steps + 1, *level):
        raise PluginError(
            f"{who}: a trajectory of {run.steps} steps has {run.steps + 1} levels of {level}; got "
            f"an array of {np.shape(found.latents)}."
        )
    require_finite(found.latents, f"the trajectory of {who}")
    if not 0 < found.eta <= 1:
        raise PluginError(f"{who}: the eta of a trajectory is {found.eta}, want 0 < eta <= 1.")
    wanted = {"noises": (found.noises, level)}
    if not isinstance(found.embeddings, str | None):
        wanted["embeddings"] = found.embeddings, run.embed(run.source.text).shape
    for what, (array, shape) in wanted.items():
        if array is None:
            continue
        if np.shape(array) != (run.steps, *shape):
            raise PluginError(
                f"{who}: the {what} of a trajectory of {run.steps} steps are {run.steps} of "
                f"{shape}; got an array of {np.shape(array)}."
            )
        require_finite(array, f"the {what} in the trajectory of {who}")


def require_told(trajectory: Trajectory | None, schedule: Schedule) -> None:
    """Refuse a run that moves pictures and leaves an inversion's embeddings unused.

    Raises:
        OptionError: it has no unconditional rows.
    """
    if trajectory is None or trajectory.embeddings is None:
        return
    moves = [pair for step in schedule.steps for pair in step.noise.values()]
    if moves and all(unconditional is None for unconditional, _ in moves):
        raise OptionError(
            "the inversion gives what the unconditional rows see, and guidance 1 has none; set a "
            "guidance above 1, such as 7.5, or another inversion."
        )
