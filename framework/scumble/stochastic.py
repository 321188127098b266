"""Steps that add noise: DDIM with eta, of which eta 1 is DDPM.

Song et al. 2021, arXiv:2010.02502, eq. 12 and 16: a step leads to a mean, and noise of a standard
deviation is added to it. With eta 0 it is `DDIM.forward`.
"""

from scumble.arrays import Floats
from scumble.schedulers import DDIM

__all__ = ["deviation", "noised", "step_mean"]


def deviation(scheduler: DDIM, i: int, eta: float = 1.0) -> float:
    """Return the standard deviation of the noise that step i adds, eq. 16; 0 for an identity.

    Args:
        scheduler: of the run.
        i: step, 0 to steps - 1.
        eta: 0 adds none, 1 what DDPM adds.
    """
    if scheduler.is_identity(i):
        return 0.0
    start, end = float(scheduler.alphas[i]), float(scheduler.reached[i])
    return eta * ((1 - end) / (1 - start) * (1 - start / end)) ** 0.5


def step_mean(scheduler: DDIM, latent: Floats, noise_pred: Floats, i: int, eta: float) -> Floats:
    """Return where step i leads before noise is added, (channels, height, width).

    Args:
        scheduler: of the run.
        latent: of level i, (channels, height, width), or of any shape.
        noise_pred: the UNet's output for it at `timesteps[i]`, same shape.
        i: step, 0 to steps - 1.
        eta: as of `deviation`.
    """
    if scheduler.is_identity(i):
        return latent
    end = float(scheduler.reached[i])
    epsilon = scheduler.epsilon(latent, noise_pred, int(scheduler.timesteps[i]))
    # What is added later as fresh noise is taken from that which the UNet foresaw.
    kept = (1 - end - deviation(scheduler, i, eta) ** 2) ** 0.5 - (1 - end) ** 0.5
    moved = scheduler.forward(latent, noise_pred, i) + kept * epsilon
    return moved.astype(latent.dtype, copy=False)


def noised(
    scheduler: DDIM, latent: Floats, noise_pred: Floats, i: int, noise: Floats, eta: float = 1.0
) -> Floats:
    """Return the latent of level i + 1: the step's mean, and noise on it.

    Args:
        scheduler: of the run.
        latent: of level i, (channels, height, width), or of any shape.
        noise_pred: the UNet's output for it at `timesteps[i]`, same shape.
        i: step, 0 to steps - 1.
        noise: of variance 1, same shape.
        eta: as of `deviation`.
    """
    mean = step_mean(scheduler, latent, noise_pred, i, eta)
    return (mean + deviation(scheduler, i, eta) * noise).astype(latent.dtype, copy=False)
