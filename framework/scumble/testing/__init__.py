"""What a plugin is tested with: an engine in numpy, a model without weights, and the contract."""

from scumble.testing.contracts import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    run_plugin,
)
from scumble.testing.fake_engine import FakeEngine
from scumble.testing.fake_model import fake_checkpoint, fake_session

__all__ = [
    "FakeEngine",
    "assert_deterministic",
    "assert_neutral_is_identity",
    "assert_reductions_exact",
    "fake_checkpoint",
    "fake_session",
    "run_plugin",
]
