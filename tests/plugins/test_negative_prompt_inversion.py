"""Negative-prompt inversion: guidance that cancels, texts in between, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.host import Host
from scumble.pipeline import Finished, Pipeline
from scumble.requests import SamplingRequest
from scumble.session import Session
from scumble.testing import assert_deterministic, assert_reductions_exact, fake_session
from scumble_plugins.negative_prompt_inversion import (
    NegativePromptInversion,
    NegativePromptOptions,
    slerp,
)
from scumble_plugins.prompt_to_prompt import PromptToPrompt

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
STEPS = 5


def edited(session: Session, target: str = "a red cat", blend: float = 0, **asked: Any) -> Finished:
    request = SamplingRequest(steps=STEPS, **asked)
    inversion = NegativePromptInversion(NegativePromptOptions(blend=blend))
    host = Host.of(inversion=inversion)
    pipeline = Pipeline(session, request, ("a red cat", target), frozenset({1}), Host(()), host)
    pipeline.read(PICTURE)
    return pipeline.finish()


def sampled(session: Session, done: Finished, target: str, guidance: float, plain: Any) -> Any:
    """The target from the inverted noise, each row alone; `plain` is the unconditional text."""
    pipeline = Pipeline(session, SamplingRequest(steps=STEPS), ("a", "a"), frozenset(), Host(()))
    scheduler = pipeline.view().scheduler
    assert done.trajectory is not None
    latent = done.trajectory.latents[0]
    for index, timestep in enumerate(scheduler.timesteps):
        at = np.array([timestep])
        told, untold = (session.predict_rows(latent[None], at, [t])[0] for t in (target, plain))
        latent = scheduler.forward(latent, untold + guidance * (told - untold), index)
    return latent


@pytest.mark.parametrize("guidance", [3.0, 7.5])
def test_guidance_vanishes_where_the_target_is_the_source(tmp_path: Path, guidance: float):
    session = fake_session(tmp_path)
    done = edited(session, guidance=guidance)
    wanted = sampled(session, done, "a red cat", 1.0, "")
    np.testing.assert_allclose(done.latents[1], wanted, atol=1e-12)


def test_unconditional_rows_see_the_source_prompt(tmp_path: Path):
    session = fake_session(tmp_path)
    done = edited(session, "a blue dog")
    wanted = sampled(session, done, "a blue dog", 7.5, "a red cat")
    np.testing.assert_allclose(done.latents[1], wanted, atol=1e-12)
    assert np.abs(wanted - sampled(session, done, "a blue dog", 7.5, "")).max() > 1e-2


@pytest.mark.parametrize("blend", [0.25, 1.0])
def test_their_text_may_lie_between_it_and_the_negative_one(tmp_path: Path, blend: float):
    session = fake_session(tmp_path)
    done = edited(session, "a blue dog", blend, negative="a tree")
    near, far = (session.embed(text).states for text in ("a red cat", "a tree"))
    between = session.embedding(slerp(near, far, blend), "a tree")
    wanted = sampled(session, done, "a blue dog", 7.5, between)
    np.testing.assert_allclose(done.latents[1], wanted, atol=1e-12)


def test_on_the_sphere():
    one, other = np.array([[2.0, 0.0]]), np.array([[0.0, 3.0]])
    np.testing.assert_allclose(slerp(one, other, 0.5), [[2 * 0.5**0.5, 3 * 0.5**0.5]])
    np.testing.assert_allclose(slerp(one, other, 1 / 3), [[2 * 0.75**0.5, 1.5]])
    np.testing.assert_allclose(slerp(one, other, 0.0), one)
    np.testing.assert_allclose(slerp(one, other, 1.0), other, atol=1e-12)
    np.testing.assert_allclose(slerp(one, 3 * one, 0.5), 2 * one)


def test_the_source_needs_one_row_a_step_and_a_target_two(tmp_path: Path):
    """The target's unconditional row is the source's at first, where their latents agree."""
    session = fake_session(tmp_path)
    assert edited(session, "a blue dog").rows == {"inversion": STEPS, "plain": 2 * STEPS}
    assert edited(session, "a blue dog", 0.5).rows == {"inversion": STEPS, "plain": 2 * STEPS}
    request = SamplingRequest(steps=STEPS)
    pipeline = Pipeline(
        session, request, ("a red cat", "a blue dog"), frozenset({0, 1}), Host(()),
        Host.of(inversion=NegativePromptInversion()),
    )  # fmt: skip
    pipeline.read(PICTURE)
    assert pipeline.finish().rows == {"inversion": STEPS, "plain": 3 * STEPS - 1}


def test_what_it_refuses(tmp_path: Path):
    session = fake_session(tmp_path)
    refused: dict[str, dict[str, Any]] = {
        "needs guidance, and 1 is none": {"guidance": 1.0},
        "in the place of 'a tree'; leave that out, or set blend": {"negative": "a tree"},
    }
    for message, asked in refused.items():
        with pytest.raises(OptionError, match=message):
            edited(session, **asked)
        assert not session.rows, "it ran rows first"


def test_the_contract():
    run: dict[str, Any] = {"image": PICTURE, "inversion": NegativePromptInversion()}
    assert_reductions_exact(PromptToPrompt(), **run)
    assert_deterministic(PromptToPrompt(), **run)
