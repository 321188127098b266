"""What plugins are shown."""

import inspect
from pathlib import Path

import numpy as np
import pytest

from scumble.errors import EngineError
from scumble.hookspecs import Hooks, RunView
from scumble.schedulers import DDIM
from scumble.session import Session


def view(session: Session) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        2, 7.5, encode("a cat"), (), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, 2), 3, None, None, {}, session.predict,
        session.look, session.tokenizer.encode,
    )  # fmt: skip


def test_every_hook_is_marked_and_says_when_it_is_called():
    hooks = {name: hook for name, hook in vars(Hooks).items() if name.startswith("scumble_")}
    assert set(hooks) == {
        "scumble_plan", "scumble_invert", "scumble_initial_noise", "scumble_before_step",
        "scumble_guidance", "scumble_after_step", "scumble_mask",
    }  # fmt: skip
    for hook in hooks.values():
        assert hasattr(hook, "scumble_spec")
        assert "Called once" in (inspect.getdoc(hook) or "")
        assert next(iter(inspect.signature(hook).parameters)) == "self"
        assert "run" in inspect.signature(hook).parameters


def test_randomness_starts_anew_from_the_seed(session: Session):
    run = view(session)
    first = run.random().standard_normal(3)
    np.testing.assert_array_equal(first, run.random().standard_normal(3))
    np.testing.assert_array_equal(first, np.random.default_rng(3).standard_normal(3))


def test_predict_costs_one_row(session: Session, tmp_path: Path):
    run = view(session)
    session.rows.clear()
    noise = run.predict(np.zeros((4, 8, 8)), 500, "a dog")
    assert noise.shape == (4, 8, 8)
    assert session.rows == {"plain": 1}


def test_a_view_without_a_model_says_so(session: Session):
    run = view(session)
    for ask in (
        lambda: run.embed("a cat"),
        lambda: run.predict_rows(np.zeros((1, 4, 8, 8)), np.array([1]), ["a cat"]),
        lambda: run.match(np.zeros((4, 8, 8)), 1, np.zeros((16, 8)), np.zeros((4, 8, 8)), 1.0),
    ):
        with pytest.raises(EngineError, match="made without a model"):
            ask()
