"""The walk from a picture to its noise."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from scumble.arrays import Floats
from scumble.errors import NumericalError, OptionError
from scumble.hookspecs import RunView
from scumble.inversion import InversionOptions, ddim_trajectory
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
