"""Noise schedules: DDIM from one noise level to the next and back, in numpy.

A run of N steps visits N + 1 noise levels: level 0 is the noisiest, level N the picture's own.
A level's cumulative alpha is its share of signal: sqrt(alpha) clean + sqrt(1 - alpha) noise. Step i
leads from level i to level i + 1, its inverse back. Figures are those of diffusers' `DDIMScheduler`
with eta 0, computed in float64 where diffusers uses float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from scumble.errors import ModelError, OptionError, PortError

__all__ = ["DDIM", "Convention", "SchedulerConfig"]

Floats = NDArray[np.floating[Any]]
Convention = Literal["target", "current"]

CHOICES = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
}
REFUSED = ("clip_sample", "thresholding", "rescale_betas_zero_snr")  # they change every picture
CLIPPING = ("DDIMScheduler", "DDPMScheduler")  # the classes for which no clip_sample means true


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """The noise schedule that a checkpoint was trained with; names and defaults are diffusers'.

    Attributes:
        num_train_timesteps: timesteps of training, T; a timestep is an integer in [0, T).
        beta_start: variance of the noise added at the first timestep.
        beta_end: variance of the noise added at the last timestep.
        beta_schedule: "linear", "scaled_linear" (linear in the root) or "squaredcos_cap_v2".
        trained_betas: variances of all T timesteps, instead of the three settings above.
        prediction_type: what the UNet returns, "epsilon" (the noise) or "v_prediction".
        steps_offset: added to every timestep of "leading" spacing.
        set_alpha_to_one: whether the last step ends at alpha 1, or else at that of timestep 0.
        timestep_spacing: "leading", "trailing" or "linspace" (arXiv:2305.08891, table 2).
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    steps_offset: int = 0
    set_alpha_to_one: bool = True
    timestep_spacing: str = "leading"

    def __post_init__(self) -> None:
        _check_whole("num_train_timesteps", self.num_train_timesteps, 1)
        _check_whole("steps_offset", self.steps_offset, 0)
        for name, choices in (*CHOICES.items(), ("set_alpha_to_one", (True, False))):
            given: object = getattr(self, name)
            if given not in choices:
                raise OptionError(
                    f"{name} is {given!r}; give one of {', '.join(map(str, choices))}."
                )
        betas = self.trained_betas
        if betas is not None and len(betas) != self.num_train_timesteps:
            raise OptionError(
                f"trained_betas has {len(betas)} numbers and num_train_timesteps is "
                f"{self.num_train_timesteps}; give one beta for each timestep."
            )
        for beta in betas or (self.beta_start, self.beta_end):
            _check_beta(beta)

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> Self:
        """Return the schedule that a diffusers `scheduler_config.json` describes.

        The file may be of any scheduler class with betas: editing runs DDIM on the same schedule.
        Missing settings take `DDIMScheduler`'s defaults; settings that it lacks are ignored.

        Raises:
            ModelError: the file asks for something else than DDIM on latents.
        """
        kind = settings.get("_class_name", "the scheduler")
        if not {"beta_start", "beta_schedule", "trained_betas"} & set(settings):
            raise ModelError(
                f"{kind} of this model has no betas and DDIM needs them; use a model with noise "
                "trained on betas, such as Stable Diffusion 1, 2 or XL."
            )
        for name in REFUSED:
            if settings.get(name, name == "clip_sample" and kind in CLIPPING):
                raise ModelError(
                    f"{kind} of this model has {name} on, which editing of latents does not "
                    f'support; set "{name}": false in scheduler_config.json if that is a mistake.'
                )
        known: dict[str, Any] = {name: settings[name] for name in cls.__slots__ if name in settings}
        if isinstance(known.get("trained_betas"), list):
            known["trained_betas"] = tuple(known["trained_betas"])
        try:
            return cls(**known)
        except (OptionError, TypeError) as error:
            raise ModelError(f"in the scheduler configuration of this model, {error}") from error

    def alphas_cumprod(self) -> NDArray[np.float64]:
        """Return the cumulative alpha of each timestep of training, (T,), falling."""
        count = self.num_train_timesteps
        grid = np.arange(count + 1, dtype=np.float64) / count
        betas = np.linspace(self.beta_start, self.beta_end, count, dtype=np.float64)
        if self.trained_betas is not None:
            betas = np.array(self.trained_betas, dtype=np.float64)
        elif self.beta_schedule == "scaled_linear":
            betas = np.square(
                np.linspace(self.beta_start**0.5, self.beta_end**0.5, count, dtype=np.float64)
            )
        elif self.beta_schedule == "squaredcos_cap_v2":  # arXiv:2102.09672, eq. 17, capped
            shape = np.square(np.cos((grid + 0.008) / 1.008 * np.pi / 2))
            betas = np.minimum(1 - shape[1:] / shape[:-1], 0.999)
        return np.multiply.accumulate(1 - betas)


@dataclass(frozen=True, slots=True, eq=False)
class DDIM:
    """Deterministic sampling and its inverse (Song et al. 2021, arXiv:2010.02502, eq. 12, sigma 0).

    Latents and noises are (rows, 4, h, w), or of any shape common to both; a result has the dtype
    of the latent. The schedule's own arrays are read-only.

    Attributes:
        config: the schedule of the checkpoint.
        steps: number of steps, N.
        timesteps: what the UNet is told in each step, (steps,) int64, falling.
        alphas: cumulative alpha of each level, (steps + 1,).
        reached: cumulative alpha at which each step ends, (steps,). With "leading" spacing this is
            `alphas[1:]`; with the others diffusers steps T // N timesteps on, which can lie beside
            the timestep that the next step starts from, and so does this.
    """

    config: SchedulerConfig
    steps: int
    timesteps: NDArray[np.int64] = field(init=False)
    alphas: NDArray[np.float64] = field(init=False)
    reached: NDArray[np.float64] = field(init=False)
    _table: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        total = self.config.num_train_timesteps
        _check_whole("steps", self.steps, 1)
        if self.steps > total:
            raise OptionError(f"steps is {self.steps}; this model has {total}, so give fewer.")
        timesteps = _timesteps(self.config, self.steps)
        if timesteps[0] >= total:
            raise OptionError(
                f"{self.steps} steps with steps_offset {self.config.steps_offset} would start at "
                f"timestep {timesteps[0]} and the model's last is {total - 1}; give fewer steps."
            )
        table = self.config.alphas_cumprod()
        ends = timesteps - total // self.steps
        final = 1.0 if self.config.set_alpha_to_one else table[0]
        reached = np.where(ends >= 0, table[np.maximum(ends, 0)], final)
        alphas = np.append(table[timesteps], reached[-1])
        arrays = {"timesteps": timesteps, "alphas": alphas, "reached": reached, "_table": table}
        for name, value in arrays.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def forward(self, latent: Floats, noise_pred: Floats, i: int) -> Floats:
        """Return the latent of level i + 1, (rows, 4, h, w).

        Args:
            latent: latent of level i, (rows, 4, h, w).
            noise_pred: the UNet's output for it at `timesteps[i]`, same shape.
            i: step, 0 to steps - 1.
        """
        epsilon = self.epsilon(latent, noise_pred, int(self.timesteps[self._step(i)]))
        return _move(latent, epsilon, self.alphas[i], self.reached[i])

    def inverse(
        self, latent: Floats, noise_pred: Floats, i: int, convention: Convention = "target"
    ) -> Floats:
        """Return the latent of level i, (rows, 4, h, w): `forward` undone, for the same noise.

        An inversion runs i from steps - 1 down to 0.

        Args:
            latent: latent of level i + 1, (rows, 4, h, w).
            noise_pred: the UNet's output for it at `inverse_timestep(i, convention)`, same shape.
            i: step to undo, 0 to steps - 1.
            convention: as given to `inverse_timestep`; tells only for v-prediction.
        """
        epsilon = self.epsilon(latent, noise_pred, self.inverse_timestep(i, convention))
        return _move(latent, epsilon, self.reached[i], self.alphas[i])

    def inverse_timestep(self, i: int, convention: Convention = "target") -> int:
        """Return what to tell the UNet when step i is undone.

        Args:
            i: step to undo, 0 to steps - 1.
            convention: "target" is the timestep of level i, to which the latent goes
                (Prompt-to-Prompt and its kin on diffusers); "current" is that of level i + 1, at
                which the latent is, and 1 for the picture itself (the latent-diffusion code).
        """
        self._step(i)
        if convention not in ("target", "current"):
            raise OptionError(f"convention is {convention!r}; give one of target, current.")
        if convention == "current" and i == self.steps - 1:
            return min(1, self.config.num_train_timesteps - 1)
        return int(self.timesteps[i if convention == "target" else i + 1])

    def is_identity(self, i: int) -> bool:
        """Return whether step i changes nothing whatever the noise: its UNet call can be saved.

        It is so at timestep 0, which offset 0 brings, unless the last alpha is set to one.
        """
        return bool(self.alphas[self._step(i)] == self.reached[i])

    def predict_clean(self, latent: Floats, noise_pred: Floats, i: int) -> Floats:
        """Return the clean latent foreseen at level i, "predicted x0" of eq. 12, (rows, 4, h, w).

        Args:
            latent: latent of level i, (rows, 4, h, w).
            noise_pred: the UNet's output for it at `timesteps[i]`, same shape.
            i: step, 0 to steps - 1.
        """
        epsilon = self.epsilon(latent, noise_pred, int(self.timesteps[self._step(i)]))
        return _move(latent, epsilon, self.alphas[i], 1.0)

    def add_noise(self, clean: Floats, noise: Floats, level: int) -> Floats:
        """Return a clean latent brought to a level with unit noise, (rows, 4, h, w).

        Args:
            clean: clean latent, (rows, 4, h, w).
            noise: noise of variance 1, same shape.
            level: 0 (the noisiest) to steps.
        """
        if not 0 <= level <= self.steps:
            raise OptionError(f"there is no level {level}; give one from 0 to {self.steps}.")
        return _move(clean, noise, 1.0, self.alphas[level])

    def epsilon(self, latent: Floats, noise_pred: Floats, timestep: int) -> Floats:
        """Return the noise that the UNet's output means, (rows, 4, h, w).

        Only here is v-prediction known: v = sqrt(alpha) noise - sqrt(1 - alpha) clean
        (Salimans and Ho 2022, arXiv:2202.00512). Alpha is that of the timestep which the UNet was
        told, so that a v-model inverts just as the epsilon-model equal to it.

        Args:
            latent: the UNet's input, (rows, 4, h, w).
            noise_pred: the UNet's output, same shape.
            timestep: what the UNet was told.
        """
        if self.config.prediction_type == "epsilon":
            return noise_pred
        alpha = self._table[timestep]
        return _weighted(latent, noise_pred, (1 - alpha) ** 0.5, alpha**0.5)

    def _step(self, i: int) -> int:
        if not 0 <= i < self.steps:
            raise OptionError(f"there is no step {i}; give one from 0 to {self.steps - 1}.")
        return i


def _timesteps(config: SchedulerConfig, steps: int) -> NDArray[np.int64]:
    """Return the timesteps of a run, (steps,), falling."""
    total = config.num_train_timesteps
    rising = np.arange(steps, dtype=np.int64)
    if config.timestep_spacing == "leading":
        return rising[::-1] * (total // steps) + config.steps_offset
    if config.timestep_spacing == "linspace":
        return np.linspace(0, total - 1, steps).round()[::-1].astype(np.int64)
    # An arange with the fraction as its step, as in diffusers, can return one element too many.
    return np.round(total - rising * (total / steps)).astype(np.int64) - 1


def _move(latent: Floats, epsilon: Floats, start: float, end: float) -> Floats:
    """Return a latent carried along its noise from one cumulative alpha to another (eq. 12)."""
    scale = (end / start) ** 0.5
    return _weighted(latent, epsilon, scale, (1 - end) ** 0.5 - scale * (1 - start) ** 0.5)


def _weighted(latent: Floats, noise: Floats, a: float, b: float) -> Floats:
    """Return `a latent + b noise` in the latent's dtype."""
    if latent.shape != noise.shape:
        raise PortError(
            f"the latent is {latent.shape} and its noise {noise.shape}; give one shape."
        )
    return (float(a) * latent + float(b) * noise).astype(latent.dtype, copy=False)


def _check_whole(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name} is {value!r}; give a whole number, {least} or more.")


def _check_beta(beta: object) -> None:
    if not isinstance(beta, int | float) or not 0 < beta < 1:
        raise OptionError(f"a beta is {beta!r}; betas are variances, so give numbers in (0, 1).")
