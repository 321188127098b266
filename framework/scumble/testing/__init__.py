"""What a plugin is tested with: an engine in numpy, a model without weights, and the contract."""

from scumble.testing.contracts import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    run_plugin,
)
from scumble.testing.fake_engine import FakeEngine
from scumble.testing.fake_gradient import GuidedFakeEngine
from scumble.testing.fake_model import fake_checkpoint, fake_session
from scumble.testing.plugin_contract import CHECKS, Finding, check_plugin, hold

__all__ = [
    "CHECKS",
    "FakeEngine",
    "Finding",
    "GuidedFakeEngine",
    "assert_deterministic",
    "assert_neutral_is_identity",
    "assert_reductions_exact",
    "check_plugin",
    "fake_checkpoint",
    "fake_session",
    "hold",
    "run_plugin",
]
