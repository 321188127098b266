"""A guide at a step, on an engine whose loss can be solved by hand."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.engine import Gradient
from scumble.errors import NumericalError
from scumble.guided import GuideCall, GuideStep
from scumble.guiding import guide, recorded_of, tell_source
from scumble.hookspecs import RunView
from scumble.ports import neutral
from scumble.schedule import Row, Step
from scumble.schedulers import DDIM
from scumble.session import Session
from scumble.testing import FakeEngine, fake_session
from scumble.testing.fake_engine import TOKENS

LATENT = np.random.default_rng(0).standard_normal((4, 8, 8))
EVERYWHERE = np.ones((8, 8))
LEFT = np.repeat([[1.0] * 4 + [0.0] * 4], 8, axis=0)


def view(session: Session) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        3, 7.5, encode("a red cat"), (encode("a blue cat"),), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, 3), 0, None, None, {}, session.predict, session.look,
        encode,
    )  # fmt: skip


def call(session: Session, *terms: tuple[float, Any, float, float], text: str = "a") -> GuideCall:
    """Terms as (what their words add up to, mask, weight of token, weight of space)."""
    sizes = session.info.sizes((8, 8))
    wanted, masks, *weights = zip(*terms, strict=True)
    words = np.zeros((1, len(terms), TOKENS))
    words[0, :, 3] = wanted
    loss = {
        "loss.words": words,
        "loss.rest": np.ones_like(words),
        "loss.masks": np.stack(masks)[None],
        "loss.weights": np.stack(weights, axis=-1)[None],
        "loss.sites": np.ones(3),
    }
    return GuideCall(text, {**neutral("route", sizes, 1), **neutral("mix", sizes, 1), **loss})


def step(*calls: GuideCall, **changed: Any) -> GuideStep:
    values: dict[str, Any] = {
        "picture": 1,
        "calls": calls,
        "constant": 0.0,
        "iterations": 1,
        "rate": 0.1,
        "within": EVERYWHERE,
        "stop": None,
    }
    return GuideStep(**(values | changed))


def told(session: Session) -> dict[str, object]:
    row = Row(0, "a red cat", True)
    return tell_source(session, view(session), Step(1, (row,)), {0: LATENT, 1: -LATENT})


def moved(session: Session, of: GuideStep, latent: Floats = LATENT) -> tuple[Floats, Any]:
    return guide(session, view(session), 1, of, latent, told(session))


def asked(session: Session) -> list[dict[str, Any]]:
    engine: Any = session.engine
    return engine.asked


class TestUpdates:
    def test_each_goes_down_the_slope(self, guided: Session):
        """Of w |x - c|^2 / 2: what is left after n updates is (1 - rate w)^n of the way."""
        latent, done = moved(
            guided, step(call(guided, (2.0, EVERYWHERE, 3.0, 0.0)), iterations=4, constant=0.5)
        )
        np.testing.assert_allclose(latent, 2 + 0.7**4 * (LATENT - 2), rtol=1e-12)
        first = 3 * ((LATENT - 2) ** 2).sum() / 2
        wanted = [0.5 + first * 0.7 ** (2 * n) for n in range(4)]
        np.testing.assert_allclose(done.losses, wanted, rtol=1e-12)
        assert (done.step, done.picture) == (1, 1)
        assert guided.rows["gradient"] == 4

    def test_each_starts_where_the_last_one_ended(self, guided: Session):
        latent, _ = moved(guided, step(call(guided, (0.0, EVERYWHERE, 1.0, 0.0)), iterations=2))
        first, second = (ports["sample"] for ports in asked(guided))
        np.testing.assert_array_equal(first[0], LATENT)
        np.testing.assert_allclose(second[0], 0.9 * LATENT, rtol=1e-12)
        np.testing.assert_allclose(latent, 0.81 * LATENT, rtol=1e-12)

    def test_the_latent_moves_within(self, guided: Session):
        of = step(call(guided, (0.0, EVERYWHERE, 1.0, 0.0)), within=LEFT, rate=0.5)
        latent, _ = moved(guided, of)
        np.testing.assert_allclose(latent[:, :, :4], LATENT[:, :, :4] / 2, rtol=1e-12)
        np.testing.assert_array_equal(latent[:, :, 4:], LATENT[:, :, 4:])

    def test_a_term_of_space(self, guided: Session):
        latent, done = moved(guided, step(call(guided, (0.0, LEFT, 0.0, -2.0)), rate=0.25))
        np.testing.assert_allclose(latent, LATENT + 0.5 * LEFT, rtol=1e-12)
        np.testing.assert_allclose(done.losses, [-2 * (LATENT * LEFT).sum()])

    def test_what_was_given_is_not_changed(self, guided: Session):
        before = LATENT.copy()
        moved(guided, step(call(guided, (0.0, EVERYWHERE, 1.0, 0.0)), iterations=2))
        np.testing.assert_array_equal(LATENT, before)

    def test_a_latent_keeps_its_width(self, tmp_path: Path, quadratic: type[FakeEngine]):
        session = fake_session(tmp_path, quadratic, precision="fp32")
        of = step(call(session, (1.0, LEFT, 1.0, 1.0)), iterations=2)
        latent, _ = moved(session, of, LATENT.astype(np.float32))
        assert latent.dtype == np.float32
        floats = [ports[name] for ports in asked(session) for name in ("sample", "loss.words")]
        assert {value.dtype for value in floats} == {np.dtype(np.float32)}


class TestStop:
    """|x|^2 / 2 falls to 0.81 of itself with each update."""

    @pytest.mark.parametrize(("share", "updates"), [(1.1, 0), (0.9, 1), (0.7, 2), (0.0, 5)])
    def test_a_loss_at_which_updates_end(self, guided: Session, share: float, updates: int):
        loss = (LATENT**2).sum() / 2
        of = step(
            call(guided, (0.0, EVERYWHERE, 1.0, 0.0)), iterations=5, stop=1 + share * loss,
            constant=1.0,
        )  # fmt: skip
        latent, done = moved(guided, of)
        np.testing.assert_allclose(latent, 0.9**updates * LATENT, rtol=1e-12)
        # The gradient that finds the loss low enough is spent, and moves nothing.
        assert len(done.losses) == guided.rows["gradient"] == min(updates + 1, 5)
        np.testing.assert_allclose(done.losses[-1], 1 + loss * 0.81 ** (len(done.losses) - 1))


class TestCalls:
    def test_several_add_up(self, guided: Session):
        terms = (2.0, EVERYWHERE, 1.0, 0.0), (-1.0, LEFT, 3.0, 2.0)
        together, one = moved(guided, step(call(guided, *terms), constant=1.0, iterations=2))
        apart, other = moved(
            guided, step(*(call(guided, term) for term in terms), constant=1.0, iterations=2)
        )
        np.testing.assert_allclose(apart, together, rtol=1e-12)
        np.testing.assert_allclose(other.losses, one.losses, rtol=1e-12)
        assert guided.rows["gradient"] == 2 + 4

    def test_each_is_told_its_own_text_and_one_timestep(self, guided: Session):
        term = (0.0, EVERYWHERE, 1.0, 0.0)
        moved(guided, step(call(guided, term, text="a cat"), call(guided, term, text="a blue cat")))
        for ports, text in zip(asked(guided), ("a cat", "a blue cat"), strict=True):
            np.testing.assert_array_equal(ports["text"][0], guided.embed(text).states)
            assert ports["timestep"].tolist() == [view(guided).scheduler.timesteps[1]]

    def test_each_is_given_the_source(self, guided: Session):
        state = told(guided)
        moved(guided, step(call(guided, (0.0, EVERYWHERE, 1.0, 0.0)), iterations=2))
        for ports in asked(guided):
            for name, value in state.items():
                np.testing.assert_array_equal(ports[name], value)


class TestTheSource:
    def test_it_runs_by_itself(self, guided: Session):
        state = told(guided)
        assert guided.rows == {"record": 1}
        sites = {f"source.{site.path}" for site in guided.info.sites if site.kind != "resnet"}
        assert set(state) == sites | {"source.text"}
        wanted = guided.engine.step(
            {
                "sample": LATENT[None],
                "timestep": view(guided).scheduler.timesteps[1:2],
                "text": guided.embed("a red cat").states[None],
                "record.row": np.zeros(1, np.int64),
            }
        ).recorded
        for name, value in {
            **wanted,
            "source.text": guided.embed("a red cat").states[None],
        }.items():
            np.testing.assert_array_equal(state[name], value)

    def test_what_is_kept_of_it_is_what_was_recorded(self, guided: Session):
        state = told(guided)
        kept = recorded_of(state)
        assert set(state) - set(kept) == {"source.text"}
        assert all(kept[name] is state[name] for name in kept)


@pytest.mark.parametrize("part", ["latents", "losses"])
def test_a_gradient_that_is_no_number(tmp_path: Path, quadratic: type[FakeEngine], part: str):
    class Spoiled(quadratic):
        def _gradient(self, ports: Mapping[str, object]) -> Gradient:
            found = super()._gradient(ports)
            return replace(found, **{part: getattr(found, part) * np.nan})

    session = fake_session(tmp_path, Spoiled)
    what = {"latents": "the gradient", "losses": "the loss"}[part]
    with pytest.raises(NumericalError, match=f"{what} at step 1 holds"):
        moved(session, step(call(session, (0.0, EVERYWHERE, 1.0, 0.0))))
