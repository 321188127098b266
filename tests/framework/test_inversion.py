"""The walk from a picture to its noise."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from scumble.arrays import Floats
from scumble.errors import NumericalError, OptionError, PluginError
from scumble.hookspecs import RunView, Trajectory
from scumble.inversion import (
    InversionOptions,
    check_trajectory,
    ddim_trajectory,
    require_told,
)
from scumble.schedule import Row, Schedule, Step
from scumble.schedulers import DDIM, Convention
from scumble.session import Session
from scumble.testing import fake_session

IMAGE = np.random.default_rng(1).standard_normal((4, 8, 8))


def view(session: Session, image: Floats | None = IMAGE, steps: int = 4) -> RunView:
    return RunView(
        steps, 1.0, session.tokenizer.encode("a red cat"), (), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, steps), 0, image, None, {}, session.predict,
        session.look, session.tokenizer.encode,
    )  # fmt: skip


@pytest.mark.parametrize("convention", ["target", "current"])
def test_it_is_ddims_inverse_level_by_level(session: Session, convention: Convention):
    run = view(session)
    levels = ddim_trajectory(run, convention)
    assert levels.shape == (5, 4, 8, 8)
    np.testing.assert_array_equal(levels[-1], IMAGE)
    for index in range(4):
        timestep = run.scheduler.inverse_timestep(index, convention)
        noise = session.predict(levels[index + 1], timestep, "a red cat")
        up = run.scheduler.inverse(levels[index + 1], noise, index, convention)
        np.testing.assert_allclose(levels[index], up, atol=1e-12)
    assert np.abs(levels[0] - IMAGE).max() > 0.1


def test_it_costs_one_row_a_step(session: Session):
    ddim_trajectory(view(session))
    assert session.rows == {"plain": 4}


def test_a_step_that_is_the_identity_costs_none(tmp_path: Path):
    session = fake_session(tmp_path, scheduler={"steps_offset": 0})
    levels = ddim_trajectory(view(session))
    assert session.rows == {"plain": 3}
    np.testing.assert_array_equal(levels[-2], levels[-1])


@pytest.mark.parametrize("start", [1, 3, 4])
def test_levels_before_the_runs_start_cost_none(session: Session, start: int):
    whole = ddim_trajectory(view(session))
    session.rows.clear()
    levels = ddim_trajectory(replace(view(session), start=start))
    assert session.rows.total() == 4 - start
    np.testing.assert_array_equal(levels[start:], whole[start:])
    np.testing.assert_array_equal(levels[:start], np.stack([whole[start]] * start))


def test_it_needs_a_picture(session: Session):
    with pytest.raises(OptionError, match="inversion needs a picture"):
        ddim_trajectory(view(session, None))


def test_numbers_that_are_none_are_found_where_they_arise(session: Session):
    spoiled = IMAGE.copy()
    spoiled[0, 0, 0] = np.nan
    with pytest.raises(NumericalError, match=r"port 'sample' at timestep \d+ holds 1 values"):
        ddim_trajectory(view(session, spoiled))


def test_options():
    assert InversionOptions().convention == "target"
    with pytest.raises(ValidationError):
        InversionOptions(convention="other")  # pyright: ignore[reportArgumentType]


class TestTrajectories:
    """What a plugin may return, and a sentence for what it may not."""

    LEVELS = np.zeros((5, 4, 8, 8))
    NOISES = np.zeros((4, 4, 8, 8))
    TEXTS = np.zeros((4, 16, 8))

    def check(self, session: Session, **given: Any) -> None:
        run = replace(view(session), embed=lambda text: session.embed(text).states)
        check_trajectory(
            Trajectory(**{"latents": self.LEVELS, "pinned": True, **given}), run, "odd"
        )

    def test_what_fits(self, session: Session):
        self.check(session)
        self.check(session, noises=self.NOISES, eta=0.5, embeddings=self.TEXTS)
        self.check(session, embeddings="a red cat")

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (
                {"latents": LEVELS[1:]},
                r"has 5 levels of \(4, 8, 8\); got an array of \(4, 4, 8, 8\)",
            ),
            ({"noises": LEVELS}, r"the noises of .* are 4 of \(4, 8, 8\); got .* \(5, 4, 8, 8\)"),
            ({"noises": NOISES[..., :4]}, r"the noises .* got an array of \(4, 4, 8, 4\)"),
            (
                {"embeddings": TEXTS[1:]},
                r"the embeddings .* are 4 of \(16, 8\); got .* \(3, 16, 8\)",
            ),
            ({"embeddings": TEXTS[:, 1:]}, r"the embeddings .* got an array of \(4, 15, 8\)"),
            ({"embeddings": 3}, r"the embeddings .* got an array of \(\)"),
            ({"eta": 0.0}, "eta of a trajectory is 0.0, want 0 < eta <= 1"),
            ({"eta": 1.5}, "eta of a trajectory is 1.5"),
            ({"eta": float("nan")}, "eta of a trajectory is nan"),
        ],
    )
    def test_what_does_not(self, session: Session, given: dict[str, Any], message: str):
        with pytest.raises(PluginError, match=f"odd: .*{message}"):
            self.check(session, **given)

    @pytest.mark.parametrize("name", ["latents", "noises", "embeddings"])
    def test_numbers_that_are_none(self, session: Session, name: str):
        spoiled = {"latents": self.LEVELS, "noises": self.NOISES, "embeddings": self.TEXTS}[name]
        changed = spoiled.copy()
        changed.flat[7] = np.inf
        with pytest.raises(NumericalError, match=r"the trajectory of odd holds 1 values"):
            self.check(session, **{name: changed})


@pytest.mark.parametrize("embeddings", ["a red cat", np.zeros((2, 16, 8))])
def test_embeddings_that_no_row_sees_are_refused(embeddings: Any):
    given = Trajectory(np.zeros((3, 4, 8, 8)), False, embeddings=embeddings)
    rows = (Row(1, "a", True), Row(1, "", False))
    alone, both = Step(1, rows[:1], {1: (None, 0)}), Step(1, rows, {1: (1, 0)})
    still = Step(0, rows[:1])
    with pytest.raises(OptionError, match="unconditional rows see, and guidance 1 has none"):
        require_told(given, Schedule((still, alone)))
    require_told(given, Schedule((still, both)))
    require_told(given, Schedule((still, still)))  # nothing moves, as where a source is recorded
    require_told(replace(given, embeddings=None), Schedule((alone,)))
    require_told(None, Schedule((alone,)))
