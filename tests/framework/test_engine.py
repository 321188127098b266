"""The checks that all engines share."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.engine import EngineSettings, Mode, StepOutput, as_float
from scumble.errors import ControlError, EngineError, OptionError, PortError, UnsupportedError
from scumble.ports import neutral
from scumble.session import Session
from scumble.testing import FakeEngine, fake_checkpoint


def plain(rows: int = 2) -> dict[str, Any]:
    return {
        "sample": np.zeros((rows, 4, 8, 8)),
        "timestep": np.zeros(rows, dtype=np.int64),
        "text": np.zeros((rows, 16, 8)),
    }


def test_nothing_works_before_load():
    engine = FakeEngine()
    with pytest.raises(EngineError, match="'fake' has no model; call load first"):
        _ = engine.info
    with pytest.raises(EngineError, match="call load first"):
        engine.step(plain())


def test_it_closes_as_a_context_manager(tmp_path: Path):
    with FakeEngine() as engine:
        engine.load(fake_checkpoint(tmp_path))
        engine.step(plain())
    with pytest.raises(EngineError, match="no model"):
        engine.step(plain())
    engine.close()


def test_dtype_follows_precision():
    assert FakeEngine(EngineSettings("fp64")).dtype is np.float64
    assert FakeEngine(EngineSettings("bf16")).dtype is np.float32


def test_threads_are_counted_from_one():
    with pytest.raises(OptionError, match="threads is 0"):
        EngineSettings(threads=0)


@pytest.mark.parametrize("mode", ["compile", "graph"])
def test_a_mode_that_the_engine_lacks_is_refused(tmp_path: Path, mode: Mode):
    """Loading as if it had it would be a setting without effect."""
    with pytest.raises(OptionError, match=f"'fake' has no mode '{mode}'; it has eager"):
        FakeEngine(EngineSettings(mode=mode)).load(fake_checkpoint(tmp_path))


def test_an_engine_knows_no_way_out_by_itself(session: Session):
    """What the host asks when something failed, where an engine says nothing of its own."""
    assert session.engine.widened() is None
    assert session.engine.trim() is None
    good, bad = np.ones(3), np.array([1, np.inf])
    assert session.engine.all_finite([good, good])
    assert not session.engine.all_finite([good, bad])
    assert session.engine.all_finite([])


def test_a_port_that_is_not_declared_never_reaches_the_engine(session: Session):
    with pytest.raises(PortError, match="'rout'"):
        session.engine.step({**plain(), "rout": np.zeros(1)})
    with pytest.raises(PortError, match="'sample'"):
        session.engine.step({})


def test_a_group_that_the_engine_lacks_is_refused(tmp_path: Path):
    class Plain(FakeEngine):
        name = "meagre"
        groups = frozenset({"mix"})

    engine = Plain(EngineSettings("fp64"))
    engine.load(fake_checkpoint(tmp_path))
    ports = {**plain(), **neutral("route", engine.info.sizes((8, 8)), 2)}
    with pytest.raises(UnsupportedError, match="'meagre' has no ports for: route"):
        engine.step(ports)


def test_a_group_that_took_no_effect_is_an_error(tmp_path: Path):
    class Deaf(FakeEngine):
        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            return replace(super()._step(ports), bound=frozenset({"mix"}))

    engine = Deaf(EngineSettings("fp64"))
    engine.load(fake_checkpoint(tmp_path))
    sizes = engine.info.sizes((8, 8))
    engine.step({**plain(), **neutral("mix", sizes, 2)})
    with pytest.raises(ControlError, match="given route ports and they had no effect"):
        engine.step({**plain(), **neutral("mix", sizes, 2), **neutral("route", sizes, 2)})


def test_as_float_leaves_whole_numbers_alone():
    assert as_float(np.zeros(2), np.float32).dtype == np.float32
    assert as_float(np.zeros(2, np.int64), np.float32).dtype == np.int64
