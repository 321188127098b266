"""Proximal guidance: thresholds against vectors by hand, whole runs against the published step."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.host import Host
from scumble.pipeline import Finished, Pipeline
from scumble.requests import SamplingRequest
from scumble.session import Session
from scumble.testing import assert_deterministic, assert_reductions_exact, fake_session
from scumble_plugins.prompt_to_prompt import PromptToPrompt
from scumble_plugins.proximal import (
    Proximal,
    ProximalOptions,
    batch_quantile,
    shrunk,
    untouched,
)

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
STEPS = 6
CHANGE = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
Threshold = Literal["soft", "hard"]


@pytest.mark.parametrize(
    ("threshold", "wanted"),
    [("soft", [-2, 0, 0, 0, 0, 0, 1]), ("hard", [-3, 0, 0, 0, 0, 0, 2])],
)
def test_thresholds(threshold: Threshold, wanted: list[float]):
    np.testing.assert_array_equal(shrunk(CHANGE, 1.0, threshold), wanted)
    np.testing.assert_array_equal(shrunk(CHANGE, 0.0, threshold), CHANGE)


def test_the_quantile_counts_the_source_too():
    """0.7 of both is 0.4 of the target alone, as the sizes go up evenly."""
    sizes = np.arange(1.0, 101.0)
    signs = np.where(np.arange(100) % 2, -1, 1)
    found = batch_quantile((sizes * signs).reshape(4, 5, 5), 0.7)
    both = np.sort(np.concatenate([np.zeros(100), sizes]))
    place = 0.7 * 199
    low = int(place)
    assert found == pytest.approx(both[low] + (place - low) * (both[low + 1] - both[low]))
    assert found == pytest.approx(np.quantile(sizes, 0.4), abs=1)
    assert batch_quantile(sizes, 0.5) == pytest.approx(0.5)


def test_what_is_untouched():
    kept = np.zeros((2, 5, 5))
    kept[0, 1, 1], kept[1, 4, 4] = -3, 1
    far = untouched(kept, 1.0, 0)
    assert (far.sum(), far[0, 1, 1]) == (49, 0)
    near = untouched(kept, 1.0, 1)
    np.testing.assert_array_equal(near[0, :4, :4], [[0, 0, 0, 1]] * 3 + [[1, 1, 1, 1]])
    assert near[1].all(), "a change of the limit itself does not exceed it"
    assert untouched(kept, 1.0, 2)[0].sum() == 25 - 16


def edited(
    session: Session, target: str = "a blue dog", asked: Any = None, **options: Any
) -> Finished:
    request = SamplingRequest(**{"steps": STEPS, **(asked or {})})
    host = Host.of(inversion=Proximal(ProximalOptions(**options)))
    pipeline = Pipeline(session, request, ("a red cat", target), frozenset({1}), Host(()), host)
    pipeline.read(PICTURE)
    return pipeline.finish()


def published(
    session: Session,
    done: Finished,
    *,
    hard: bool = False,
    quantile: float = 0.7,
    fixed: float | None = None,
    latent_anchor: bool = False,
    clean_anchor: bool = False,
    rate: float = 1.0,
    below: int = 400,
    margin: int = 1,
) -> Any:
    """Source and target stepped together, with the thresholds over both, as in the authors' code.

    Its "l0" is the soft threshold. Reconstruction guidance changes the clean latent within the
    step; inversion guidance the latent after it.
    """
    pipeline = Pipeline(session, SamplingRequest(steps=STEPS), ("a", "a"), frozenset(), Host(()))
    scheduler = pipeline.view().scheduler
    assert done.trajectory is not None
    stars = done.trajectory.latents
    latents = np.stack([stars[0]] * 2)
    for index, timestep in enumerate(scheduler.timesteps):
        at = np.array([timestep] * 4)
        rows = np.concatenate([latents, latents])
        texts = ["a red cat", "a red cat", "a red cat", "a blue dog"]
        plain, told = session.predict_rows(rows, at, texts).reshape(2, 2, 4, 8, 8)
        delta = told - plain
        limit = np.quantile(np.abs(delta), quantile) if fixed is None else fixed
        kept = delta * (np.abs(delta) > limit) if hard else delta - np.clip(delta, -limit, limit)
        noise = plain + 7.5 * kept
        mask = np.abs(kept) > limit
        grown = np.zeros_like(mask)
        for y in range(8):
            for x in range(8):
                window = (slice(max(y - margin, 0), y + margin + 1),
                          slice(max(x - margin, 0), x + margin + 1))  # fmt: skip
                grown[..., y, x] = mask[(..., *window)].any(axis=(-1, -2))
        still = 1.0 - grown
        start, end = float(scheduler.alphas[index]), float(scheduler.reached[index])
        clean = (latents - (1 - start) ** 0.5 * noise) / start**0.5
        if clean_anchor and timestep < below:
            clean = clean - rate * (clean - stars[-1]) * still
        latents = end**0.5 * clean + (1 - end) ** 0.5 * noise
        if latent_anchor and timestep < below:
            latents = latents - rate * (latents - stars[index + 1]) * still
    return latents[1]


CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"anchor": "none"}, {}),
    ({"anchor": "none", "threshold": "hard", "quantile": 0.75}, {"hard": True, "quantile": 0.75}),
    ({"anchor": "none", "limit": 0.05}, {"fixed": 0.05}),
    ({}, {"latent_anchor": True}),
    ({"anchor_rate": 0.3, "anchor_below": 700, "anchor_margin": 0, "limit": 0.02},
     {"latent_anchor": True, "rate": 0.3, "below": 700, "margin": 0, "fixed": 0.02}),
    ({"anchor": "clean", "anchor_rate": 0.1, "anchor_below": 1000, "anchor_margin": 2,
      "limit": 0.05},
     {"clean_anchor": True, "rate": 0.1, "below": 1000, "margin": 2, "fixed": 0.05}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "code"), CASES)
def test_a_run_is_as_published(tmp_path: Path, options: dict[str, Any], code: dict[str, Any]):
    session = fake_session(tmp_path)
    done = edited(session, **options)
    wanted = published(session, done, **code)
    np.testing.assert_allclose(done.latents[1], wanted, atol=1e-10)
    plain = edited(session, anchor="none", limit=0)
    assert np.abs(plain.latents[1] - wanted).max() > 1e-3


def test_anchored_equal_prompts_end_in_the_picture(tmp_path: Path):
    done = edited(fake_session(tmp_path), "a red cat")
    assert done.trajectory is not None
    np.testing.assert_allclose(done.latents[1], done.trajectory.latents[-1], atol=1e-12)


def test_it_costs_what_negative_prompt_inversion_costs(tmp_path: Path):
    assert edited(fake_session(tmp_path)).rows == {"inversion": STEPS, "plain": 2 * STEPS}


def test_what_it_refuses(tmp_path: Path):
    session = fake_session(tmp_path)
    for asked, message in (
        ({"guidance": 1.0}, "needs guidance, and 1 is none"),
        ({"negative": "a tree"}, "in the place of 'a tree'; leave that out"),
    ):
        with pytest.raises(OptionError, match=message):
            edited(session, asked=asked)
        assert not session.rows, "it ran rows first"


@pytest.mark.parametrize("anchor", ["latent", "clean"])
def test_the_contract(anchor: Literal["latent", "clean"]):
    plugin = Proximal(ProximalOptions(anchor=anchor, anchor_below=900))
    run: dict[str, Any] = {"image": PICTURE, "inversion": plugin, "steps": STEPS}
    assert_reductions_exact(PromptToPrompt(), **run)
    assert_deterministic(PromptToPrompt(), **run)


def test_a_step_that_is_the_identity_draws_nothing(tmp_path: Path):
    session = fake_session(tmp_path, scheduler={"steps_offset": 0})
    seen: list[Any] = []
    host = Host.of(inversion=Proximal(ProximalOptions(anchor_rate=0.3)))
    pipeline = Pipeline(
        session, SamplingRequest(steps=STEPS), ("a red cat", "a blue dog"), frozenset({1}),
        Host(()), host, callback=lambda progress: seen.append(progress.latents[1]),
    )  # fmt: skip
    pipeline.read(PICTURE)
    pipeline.finish()
    np.testing.assert_array_equal(seen[-1], seen[-2])
    assert np.abs(seen[-2] - seen[-3]).max() > 1e-3
