"""How far a build is."""

from types import SimpleNamespace
from typing import Any

import pytest

from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.monitoring import Phases, make_monitor


@pytest.fixture
def phases() -> Phases:
    return Phases()


def test_nothing_is_done_at_first(phases: Phases):
    assert phases.share == 0
    phases.start("build", None, 4)
    assert phases.share == 0


def test_steps_within_steps_count_as_parts_of_them(phases: Phases):
    phases.start("build", None, 4)
    phases.step("build", 0)
    assert phases.share == pytest.approx(1 / 4)
    phases.start("optimize", "build", 2)
    phases.step("optimize", 0)
    assert phases.share == pytest.approx(1 / 4 + 1 / 8)
    phases.start("time", "optimize", 10)
    phases.step("time", 4)
    assert phases.share == pytest.approx(1 / 4 + 1 / 8 + 1 / 16)
    phases.finish("time")
    phases.finish("optimize")
    assert phases.share == pytest.approx(1 / 4 + 1 / 8 + 1 / 16)
    phases.step("build", 3)
    assert phases.share == 1


def test_odd_reports_do_no_harm(phases: Phases):
    phases.step("unknown", 3)
    phases.finish("unknown")
    phases.start("build", None, 0)
    phases.step("build", 5)
    assert phases.share == 1


def test_the_monitor_goes_on_and_tells_the_share():
    shares: list[float] = []
    library = Library("tensorrt_rtx", "1", SimpleNamespace(IProgressMonitor=object))
    monitor: Any = make_monitor(library, shares.append)
    monitor.phase_start("build", None, 2)
    assert monitor.step_complete("build", 0) is True
    assert monitor.step_complete("build", 1) is True
    monitor.phase_finish("build")
    assert shares == [0.5, 1]
