"""DDIM in numpy against diffusers, and its inverse against formulas written out here."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from scumble.errors import ModelError, OptionError, PortError
from scumble.schedulers import DDIM, Convention, SchedulerConfig

STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
BETAS = {
    "linear": {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},
    "scaled_linear": STABLE,
    "squaredcos_cap_v2": {"beta_schedule": "squaredcos_cap_v2"},
    "trained": {"trained_betas": [0.001 + 0.00001 * t for t in range(1000)]},
}
GRID = [
    {**BETAS[betas], "timestep_spacing": spacing, "prediction_type": kind} | rest
    for betas, spacing, kind in itertools.product(
        BETAS, ("leading", "trailing", "linspace"), ("epsilon", "v_prediction")
    )
    for rest in (
        {"steps_offset": offset, "set_alpha_to_one": one}
        for offset, one in itertools.product((0, 1), (False, True))
    )
]


def alphas_in_float64(values: dict) -> torch.Tensor:
    """The definitions of diffusers, evaluated in float64."""
    if "trained_betas" in values:
        betas = torch.tensor(values["trained_betas"], dtype=torch.float64)
    elif values["beta_schedule"] == "linear":
        betas = torch.linspace(values["beta_start"], values["beta_end"], 1000, dtype=torch.float64)
    elif values["beta_schedule"] == "scaled_linear":
        ends = values["beta_start"] ** 0.5, values["beta_end"] ** 0.5
        betas = torch.linspace(*ends, 1000, dtype=torch.float64) ** 2
    else:

        def bar(t: float) -> float:
            return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

        ratios = [min(1 - bar((t + 1) / 1000) / bar(t / 1000), 0.999) for t in range(1000)]
        betas = torch.tensor(ratios, dtype=torch.float64)
    return torch.cumprod(1 - betas, 0)


def reference(values: dict, steps: int, *, exact: bool) -> Any:
    scheduler: Any = DDIMScheduler(**values, clip_sample=False)
    if exact:
        scheduler.alphas_cumprod = alphas_in_float64(values)
        one = torch.tensor(1.0, dtype=torch.float64)
        first = scheduler.alphas_cumprod[0]
        scheduler.final_alpha_cumprod = one if values["set_alpha_to_one"] else first
    scheduler.set_timesteps(steps)
    return scheduler


def trajectories(values: dict, steps: int, dtype: type, *, exact: bool):
    """Both latents after each step of a run whose noise depends on the latent, as a UNet's does."""
    ours = DDIM(SchedulerConfig.from_dict(values), steps)
    theirs = reference(values, steps, exact=exact)
    np.testing.assert_array_equal(ours.timesteps, theirs.timesteps.numpy())
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((2, 4, 3, 5)).astype(dtype)
    noises = rng.standard_normal((steps, 2, 4, 3, 5)).astype(dtype)
    other = torch.from_numpy(latent.copy())
    for i, t in enumerate(theirs.timesteps):
        latent = ours.forward(latent, np.tanh(latent) + noises[i] / 2, i)
        noise = torch.tanh(other) + torch.from_numpy(noises[i]) / 2
        other = theirs.step(noise, int(t), other).prev_sample
        assert latent.dtype == dtype
        yield latent, other.numpy()


@pytest.mark.parametrize("values", GRID)
@pytest.mark.parametrize("steps", [7, 50])
def test_float64_trajectory_is_that_of_diffusers(values: dict, steps: int) -> None:
    for ours, theirs in trajectories(values, steps, np.float64, exact=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("values", [v for v in GRID if v.get("beta_schedule") == "scaled_linear"])
def test_float32_trajectory_is_that_of_unmodified_diffusers(values: dict) -> None:
    for ours, theirs in trajectories(values, 20, np.float32, exact=False):
        assert np.abs(ours - theirs).max() <= 1e-5 * max(1, np.abs(theirs).max())


@pytest.mark.parametrize("name", BETAS)
def test_alphas_are_those_of_diffusers(name: str) -> None:
    ours = SchedulerConfig.from_dict(BETAS[name]).alphas_cumprod()
    theirs = DDIMScheduler(**BETAS[name]).alphas_cumprod.numpy()
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(ours, alphas_in_float64(BETAS[name]), rtol=1e-12)


@pytest.mark.parametrize("values", GRID)
def test_clean_prediction_is_that_of_diffusers(values: dict) -> None:
    ours = DDIM(SchedulerConfig.from_dict(values), 10)
    theirs = reference(values, 10, exact=True)
    rng = np.random.default_rng(1)
    latent, noise = rng.standard_normal((2, 1, 4, 3, 3))
    for i, t in enumerate(theirs.timesteps):
        step = theirs.step(torch.from_numpy(noise), int(t), torch.from_numpy(latent))
        np.testing.assert_allclose(
            ours.predict_clean(latent, noise, i), step.pred_original_sample, rtol=1e-10, atol=1e-10
        )


def test_stable_diffusion_levels() -> None:
    """The figures of the Prompt-to-Prompt notebooks: 980, 960 ... 0 and a last alpha of .99915."""
    old = DDIM(SchedulerConfig(**STABLE, set_alpha_to_one=False), 50)
    assert old.timesteps.tolist() == list(range(980, -1, -20))
    assert old.timesteps.dtype == np.int64
    assert old.alphas.shape == (51,)
    assert old.alphas[-1] == pytest.approx(0.99915)
    new = DDIM(SchedulerConfig(**STABLE, set_alpha_to_one=False, steps_offset=1), 50)
    assert new.timesteps.tolist() == list(range(981, 0, -20))
    np.testing.assert_array_equal(new.reached, new.alphas[1:])


@pytest.mark.parametrize(
    ("offset", "one", "expected"), [(0, False, True), (0, True, False), (1, False, False)]
)
def test_only_the_step_at_timestep_0_is_an_identity(offset, one, expected) -> None:
    ddim = DDIM(SchedulerConfig(**STABLE, set_alpha_to_one=one, steps_offset=offset), 50)
    assert [ddim.is_identity(i) for i in range(50)] == [False] * 49 + [expected]
    latent, noise = np.random.default_rng(2).standard_normal((2, 1, 4, 8, 8))
    assert np.array_equal(ddim.forward(latent, noise, 49), latent) == expected
    assert np.array_equal(ddim.inverse(latent, noise, 49), latent) == expected


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(1, 60),
    offset=st.integers(0, 1),
    one=st.booleans(),
    spacing=st.sampled_from(["leading", "trailing", "linspace"]),
    share=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 1000),
)
def test_inverse_undoes_forward_for_the_same_noise(steps, offset, one, spacing, share, seed):
    config = SchedulerConfig(
        **STABLE, steps_offset=offset, set_alpha_to_one=one, timestep_spacing=spacing
    )
    ddim, i = DDIM(config, steps), int(share * steps)
    latent, noise = np.random.default_rng(seed).standard_normal((2, 1, 4, 4, 4))
    back = ddim.forward(ddim.inverse(latent, noise, i), noise, i)
    np.testing.assert_allclose(back, latent, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("convention", ["target", "current"])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_inversion_is_the_explicit_loop(offset: int, convention: Convention, kind: str) -> None:
    """The whole inversion against the published loop, alphas looked up by timestep."""
    config = SchedulerConfig(
        **STABLE, steps_offset=offset, set_alpha_to_one=False, prediction_type=kind
    )
    ddim, table = DDIM(config, 50), alphas_in_float64(STABLE).numpy()

    def unet(latent, t):
        return np.sin(latent + t / 100)

    latent = expected = np.random.default_rng(3).standard_normal((1, 4, 4, 4))
    for i in range(49, -1, -1):
        output = unet(latent, ddim.inverse_timestep(i, convention))
        latent = ddim.inverse(latent, output, i, convention)
    previous = None
    for t in range(offset, 1000, 20):
        told = t if convention == "target" else (1 if previous is None else previous)
        here = table[0] if previous is None else table[previous]
        epsilon = unet(expected, told)
        if kind == "v_prediction":
            epsilon = table[told] ** 0.5 * epsilon + (1 - table[told]) ** 0.5 * expected
        clean = (expected - (1 - here) ** 0.5 * epsilon) / here**0.5
        expected = table[t] ** 0.5 * clean + (1 - table[t]) ** 0.5 * epsilon
        previous = t
    np.testing.assert_allclose(latent, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("convention", ["target", "current"])
def test_a_v_model_inverts_as_the_epsilon_model_equal_to_it(convention: Convention) -> None:
    runs = []
    for kind in ("epsilon", "v_prediction"):
        config = SchedulerConfig(**STABLE, set_alpha_to_one=False, prediction_type=kind)
        ddim, table = DDIM(config, 10), config.alphas_cumprod()
        latent = np.random.default_rng(4).standard_normal((1, 4, 4, 4))
        for i in range(9, -1, -1):
            t = ddim.inverse_timestep(i, convention)
            output = np.cos(latent + t)
            if kind == "v_prediction":
                output = (output - (1 - table[t]) ** 0.5 * latent) / table[t] ** 0.5
            latent = ddim.inverse(latent, output, i, convention)
        runs.append(latent)
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-9, atol=1e-9)


def test_noise_is_added_as_diffusers_adds_it() -> None:
    values = {**STABLE, "set_alpha_to_one": True, "steps_offset": 1}
    ddim, theirs = DDIM(SchedulerConfig.from_dict(values), 20), reference(values, 20, exact=True)
    clean, noise = np.random.default_rng(5).standard_normal((2, 1, 4, 4, 4))
    for level, t in enumerate(theirs.timesteps):
        expected = theirs.add_noise(torch.from_numpy(clean), torch.from_numpy(noise), t[None])
        np.testing.assert_allclose(ddim.add_noise(clean, noise, level), expected, rtol=1e-12)
    np.testing.assert_array_equal(ddim.add_noise(clean, noise, 20), clean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_results_have_the_dtype_of_the_latent(dtype: type, kind: str) -> None:
    ddim = DDIM(SchedulerConfig(**STABLE, prediction_type=kind), 5)
    latent, noise = np.ones((1, 4, 2, 2), dtype), np.ones((1, 4, 2, 2), dtype)
    for result in (
        ddim.forward(latent, noise, 2),
        ddim.inverse(latent, noise, 2),
        ddim.predict_clean(latent, noise, 2),
        ddim.add_noise(latent, noise, 2),
    ):
        assert result.dtype == dtype


def test_trailing_has_as_many_steps_as_asked_for() -> None:
    """For 61 steps (and 61 other numbers) diffusers returns one more, at timestep -1."""
    config = SchedulerConfig(**STABLE, timestep_spacing="trailing")
    for steps in range(1, 1001):
        timesteps = DDIM(config, steps).timesteps
        assert len(timesteps) == steps
        assert timesteps[-1] >= 0
        assert (np.diff(timesteps) < 0).all()


def test_the_schedule_cannot_be_written_to() -> None:
    ddim = DDIM(SchedulerConfig(), 10)
    with pytest.raises(ValueError, match="read-only"):
        ddim.alphas[0] = 1


def test_configs_of_other_classes_are_read() -> None:
    published = {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.7.0.dev0",
        **STABLE,
        "num_train_timesteps": 1000,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    }
    expected = SchedulerConfig(**STABLE, set_alpha_to_one=False, steps_offset=1)
    assert SchedulerConfig.from_dict(published) == expected
    saved = dict(PNDMScheduler(**STABLE, steps_offset=1).config) | {"_class_name": "PNDMScheduler"}
    assert SchedulerConfig.from_dict(saved) == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clip_sample": True}, "clip_sample on"),
        ({"_class_name": "DDIMScheduler"}, "clip_sample on"),
        ({"thresholding": True}, "thresholding on"),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr on"),
        ({"prediction_type": "sample"}, "'sample'; give one of epsilon, v_prediction"),
        ({"beta_schedule": "sigmoid"}, "linear, scaled_linear, squaredcos_cap_v2"),
        ({"timestep_spacing": ["leading"]}, "leading, trailing, linspace"),
        ({"steps_offset": -1}, "steps_offset is -1"),
        ({"steps_offset": True}, "steps_offset is True"),
        ({"num_train_timesteps": "1000"}, "num_train_timesteps is '1000'"),
        ({"set_alpha_to_one": "no"}, "set_alpha_to_one is 'no'"),
        ({"beta_end": 1.5}, "a beta is 1.5"),
        ({"beta_end": float("nan")}, "a beta is nan"),
        ({"beta_start": None}, "a beta is None"),
        ({"trained_betas": [0.1, 0.2]}, "2 numbers"),
        ({"trained_betas": ["x"] * 1000}, "a beta is 'x'"),
        ({"trained_betas": 3}, "scheduler configuration"),
    ],
)
def test_what_ddim_cannot_do_is_refused(change: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        SchedulerConfig.from_dict(STABLE | change)


def test_a_schedule_without_betas_is_refused() -> None:
    flow = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
    with pytest.raises(ModelError, match=r"FlowMatch.* no betas"):
        SchedulerConfig.from_dict(flow)


def test_bad_calls_are_refused() -> None:
    config = SchedulerConfig(**STABLE, steps_offset=1)
    for steps in (0, -1, 1001, 1000, 2.0, True):
        with pytest.raises(OptionError):
            DDIM(config, steps)  # pyright: ignore[reportArgumentType]
    ddim, latent = DDIM(config, 10), np.zeros((1, 4, 2, 2))
    for i in (-1, 10):
        with pytest.raises(OptionError, match="0 to 9"):
            ddim.forward(latent, latent, i)
    with pytest.raises(OptionError, match="0 to 10"):
        ddim.add_noise(latent, latent, 11)
    with pytest.raises(OptionError, match="target, current"):
        ddim.inverse_timestep(0, "next")  # pyright: ignore[reportArgumentType]
    with pytest.raises(PortError, match="one shape"):
        ddim.forward(latent, np.zeros((3, 4, 2, 2)), 0)
