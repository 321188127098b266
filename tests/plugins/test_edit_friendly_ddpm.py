"""Edit-friendly DDPM inversion: exact, step by step as published, and many levels in a call."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.engine import StepOutput
from scumble.host import Host
from scumble.images import to_model
from scumble.pipeline import Finished, Pipeline
from scumble.requests import SamplingRequest
from scumble.session import Session
from scumble.testing import (
    FakeEngine,
    assert_deterministic,
    assert_reductions_exact,
    fake_session,
)
from scumble_plugins.edit_friendly_ddpm import EditFriendlyDDPM, EditFriendlyOptions
from scumble_plugins.prompt_to_prompt import PromptToPrompt

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
STEPS = 8


class Counting(FakeEngine):
    """Notes how many rows each call has; takes three at most."""

    calls: list[int]

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.calls = []

    @property
    def most_rows(self) -> int | None:
        return 3

    def _step(self, ports: Mapping[str, Any]) -> StepOutput:
        self.calls.append(len(ports["sample"]))
        return super()._step(ports)


def edited(
    session: Session, target: str = "a red cat", asked: Any = None, **options: Any
) -> Finished:
    request = SamplingRequest(**{"steps": STEPS, "guidance": 1.0, **(asked or {})})
    host = Host.of(inversion=EditFriendlyDDPM(EditFriendlyOptions(**options)))
    pipeline = Pipeline(session, request, ("a red cat", target), frozenset({1}), Host(()), host)
    pipeline.read(PICTURE)
    return pipeline.finish()


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_the_picture_comes_back_exactly(tmp_path: Path, offset: int, guidance: float):
    """Where the prompts and the guidance of both ways are equal."""
    session = fake_session(tmp_path, scheduler={"steps_offset": offset})
    done = edited(session, asked={"guidance": guidance}, source_guidance=guidance)
    assert done.trajectory is not None
    image = done.trajectory.latents[-1]
    np.testing.assert_allclose(done.latents[1], image, atol=1e-9)
    drifted = edited(session, asked={"guidance": guidance}, source_guidance=guidance + 1)
    assert np.abs(drifted.latents[1] - image).max() > 1e-3


@pytest.mark.parametrize("end", [False, True])
def test_each_step_is_as_published(tmp_path: Path, end: bool):
    """Written out with the names of the published code: xts, zs, mu_t, and x_{t-1} from them."""
    session = fake_session(tmp_path)
    done = edited(session, skip=2, noiseless_end=end)
    found = done.trajectory
    assert found is not None
    assert found.noises is not None
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    bar = np.cumprod(1 - betas)
    rng = np.random.default_rng(0)
    fresh = rng.standard_normal((STEPS, 4, 8, 8))
    image = session.engine.encode_image(to_model(PICTURE).astype(np.float64))[0]
    timesteps = [1 + 125 * i for i in reversed(range(STEPS))]
    xts = [bar[t] ** 0.5 * image + (1 - bar[t]) ** 0.5 * fresh[i] for i, t in enumerate(timesteps)]
    xts.append(image)
    for i, t in enumerate(timesteps):
        if i < 2:
            continue
        previous = bar[t - 125] if t >= 125 else bar[0]
        noise = session.predict(xts[i], t, "a red cat")
        clean = (xts[i] - (1 - bar[t]) ** 0.5 * noise) / bar[t] ** 0.5
        variance = (1 - previous) / (1 - bar[t]) * (1 - bar[t] / previous)
        mean = previous**0.5 * clean + (1 - previous - variance) ** 0.5 * noise
        wanted = (xts[i + 1] - mean) / variance**0.5
        last = end and i == STEPS - 1
        np.testing.assert_allclose(found.noises[i], 0 if last else wanted, rtol=1e-7, atol=1e-7)
        reached = mean if last else xts[i + 1]
        np.testing.assert_allclose(found.latents[i + 1], reached, atol=1e-9)
    np.testing.assert_allclose(found.latents[2], xts[2], atol=1e-9)
    assert found.pinned
    assert not found.noises[:2].any()


@pytest.mark.parametrize(("steps", "skip", "taken"), [(50, None, 38), (20, None, 15), (8, 3, 5)])
def test_first_steps_are_skipped(tmp_path: Path, steps: int, skip: int | None, taken: int):
    session = fake_session(tmp_path)
    done = edited(session, "a blue dog", {"steps": steps}, skip=skip)
    assert done.rows == {"inversion": taken, "plain": taken}


def test_levels_are_predicted_many_in_a_call(tmp_path: Path):
    """As many as asked for, and no more at once than the engine takes."""
    session = fake_session(tmp_path, Counting)
    engine: Any = session.engine
    edited(session, skip=1, batch=2)
    assert engine.calls[:4] == [2, 2, 2, 1]
    engine.calls.clear()
    edited(session, skip=1, batch=8)
    assert engine.calls[:3] == [3, 3, 1]


@pytest.mark.parametrize("batch", [1, 5])
def test_how_many_at_once_changes_nothing(tmp_path: Path, batch: int):
    session = fake_session(tmp_path)
    one, other = (edited(session, "a blue dog", batch=size).latents[1] for size in (batch, 8))
    np.testing.assert_allclose(one, other, atol=1e-9)


def test_noise_is_the_seeds(tmp_path: Path):
    session = fake_session(tmp_path)
    first, again, other = (
        edited(session, "a blue dog", {"seed": seed}).latents[1] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_less_noise_a_step_comes_back_exactly_too(tmp_path: Path):
    done = edited(fake_session(tmp_path), eta=0.4)
    assert done.trajectory is not None
    np.testing.assert_allclose(done.latents[1], done.trajectory.latents[-1], atol=1e-9)


def test_the_contract():
    run: dict[str, Any] = {"image": PICTURE, "inversion": EditFriendlyDDPM()}
    assert_reductions_exact(PromptToPrompt(), **run)
    assert_deterministic(PromptToPrompt(), **run)
