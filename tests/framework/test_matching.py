"""The loss that an inversion may take the gradient of; `Differing` of the fixtures has it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.engine import Gradient
from scumble.errors import ControlError, NumericalError, UnsupportedError
from scumble.matching import match
from scumble.session import Session
from scumble.testing import fake_session

RNG = np.random.default_rng(8)
LATENT, WANTED = RNG.standard_normal((2, 4, 8, 8))


def by_hand(session: Session, text: np.ndarray) -> float:
    noise = session.predict_rows(LATENT[None], np.array([321]), [session.embedding(text, "")])[0]
    return 3.0 * float(((noise - WANTED) ** 2).mean())


def test_the_loss_and_its_slope(matching: Session):
    told = matching.embed("a red cat")
    loss, slope = match(matching, LATENT, 321, told, WANTED, 3.0)
    assert loss == pytest.approx(by_hand(matching, told.states), rel=1e-12)
    way = RNG.standard_normal(told.states.shape)
    ahead, behind = (by_hand(matching, told.states + side * 1e-4 * way) for side in (1, -1))
    assert float((slope * way).sum()) == pytest.approx((ahead - behind) / 2e-4, rel=1e-4)


def test_it_is_counted_as_one_gradient_and_its_probe_is_not(matching: Session):
    matching.rows["plain"] = 5
    for _ in range(2):
        match(matching, LATENT, 321, matching.embed("a"), WANTED, 1.0)
    assert matching.rows == {"plain": 5, "gradient": 2}
    assert matching.probed == {"match"}


def test_the_engine_of_gradients_gives_it(session: Session, matching: Session):
    session.take_gradients_from(matching)
    match(session, LATENT, 321, session.embed("a"), WANTED, 1.0)
    assert session.rows == {"gradient": 1}


def test_an_engine_without_is_refused(session: Session, guided: Session):
    for each in (session, guided):
        with pytest.raises(UnsupportedError, match=r"no gradient by the text .*one of: .*torch"):
            match(each, LATENT, 321, each.embed("a"), WANTED, 1.0)
        assert not each.rows


def spoiled(matching: Session, folder: Path, **change: Any) -> Session:
    kind = type(matching.engine)

    class Spoiled(kind):
        def _gradient(self, ports: Mapping[str, Any]) -> Gradient:
            found = super()._gradient(ports)
            return replace(found, **{name: how(found) for name, how in change.items()})

    return fake_session(folder, Spoiled)


@pytest.mark.parametrize("slope", [lambda found: np.ones_like(found.text), lambda found: None])
def test_a_gradient_that_ignores_what_is_wanted_is_caught(
    matching: Session, tmp_path: Path, slope: Any
):
    session = spoiled(matching, tmp_path / "spoiled", text=slope)
    with pytest.raises(ControlError, match="the match ports of engine 'differing' have no effect"):
        match(session, LATENT, 321, session.embed("a"), WANTED, 1.0)


def test_numbers_that_are_none(matching: Session, tmp_path: Path):
    session = spoiled(matching, tmp_path / "spoiled", text=lambda found: found.text * np.nan)
    session.probed.add("match")
    with pytest.raises(NumericalError, match="the gradient by the text at timestep 321 holds"):
        match(session, LATENT, 321, session.embed("a"), WANTED, 1.0)
