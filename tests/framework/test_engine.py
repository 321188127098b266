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


class TestGradient:
    """What holds for every engine; `Quadratic` of the fixtures has the derivative."""

    def ports(self, session: Session, rows: int = 1) -> dict[str, Any]:
        sizes = session.info.sizes((8, 8))
        states = [f"source.{s.path}" for s in sizes.sites if s.kind != "resnet"]
        return {
            **plain(rows),
            **neutral("route", sizes, rows),
            **neutral("mix", sizes, rows),
            **dict.fromkeys(states, np.zeros((1, 64, 8))),
            "source.text": np.zeros((1, 16, 8)),
            "loss.words": np.ones((rows, 2, 16)),
            "loss.rest": np.ones((rows, 2, 16)),
            "loss.masks": np.ones((rows, 2, 8, 8)),
            "loss.weights": np.ones((rows, 2, 2)),
            "loss.sites": np.ones(3),
        }

    def test_it_is_of_one_row(self, guided: Session):
        found = guided.engine.gradient(self.ports(guided))
        assert (found.latents.shape, found.losses.shape) == ((1, 4, 8, 8), (1, 2, 2))
        with pytest.raises(PortError, match=r"a gradient is of one row with .*; got 2 with"):
            guided.engine.gradient(self.ports(guided, 2))

    @pytest.mark.parametrize("group", ["route", "mix", "loss"])
    def test_every_group_is_there(self, guided: Session, group: str):
        ports = {n: port for n, port in self.ports(guided).items() if n.split(".")[0] != group}
        message = "one row with loss, mix, replay, route; got 1 with"
        with pytest.raises(PortError, match=message):
            guided.engine.gradient(ports)

    def test_and_no_other(self, guided: Session):
        ports = self.ports(guided) | neutral("region", guided.info.sizes((8, 8)), 1)
        with pytest.raises(PortError, match="got 1 with loss, mix, region"):
            guided.engine.gradient(ports)

    def test_its_ports_are_checked(self, guided: Session):
        ports = self.ports(guided) | {"loss.words": np.ones((1, 2, 15))}
        with pytest.raises(PortError, match=r"'loss.words' has shape"):
            guided.engine.gradient(ports)
        with pytest.raises(PortError, match="'sample'"):
            guided.engine.gradient({})

    def test_an_engine_without(self, session: Session):
        with pytest.raises(UnsupportedError, match="'fake' has no ports for: loss"):
            session.engine.gradient(self.ports(session))

    def test_a_step_has_no_loss(self, guided: Session):
        with pytest.raises(PortError, match="a step has no loss ports; ask for a gradient"):
            guided.engine.step(self.ports(guided))


class TestMatch:
    """A gradient of how far a noise is from a wanted one; `Differing` of the fixtures has it."""

    def ports(self, rows: int = 3) -> dict[str, Any]:
        wanted = np.zeros((rows, 4, 8, 8))
        return {**plain(rows), "match.noise": wanted, "match.weight": np.ones(rows)}

    def test_it_is_of_any_number_of_rows(self, matching: Session):
        found = matching.engine.gradient(self.ports())
        assert (found.latents.shape, found.losses.shape) == ((3, 4, 8, 8), (3,))
        assert found.text is not None
        assert found.text.shape == (3, 16, 8)

    def test_it_goes_alone(self, matching: Session):
        ports = self.ports() | neutral("route", matching.info.sizes((8, 8)), 3)
        with pytest.raises(PortError, match="got 3 with match, route, and match goes alone"):
            matching.engine.gradient(ports)

    def test_its_ports_are_checked(self, matching: Session):
        ports = self.ports() | {"match.weight": np.ones(2)}
        with pytest.raises(PortError, match=r"'match.weight' has shape"):
            matching.engine.gradient(ports)

    def test_an_engine_without(self, guided: Session):
        with pytest.raises(UnsupportedError, match=r"'quadratic' has no ports for: match; .*torch"):
            guided.engine.gradient(self.ports())

    def test_a_step_has_none(self, matching: Session):
        with pytest.raises(PortError, match="a step has no match ports; ask for a gradient"):
            matching.engine.step(self.ports())


def test_a_look_is_the_reads_of_a_step(session: Session):
    read = {"read.weights": np.eye(16)[None, :2].repeat(2, axis=0), "read.sites": np.eye(3)[0]}
    found = session.engine.look({**plain(), **read})
    assert set(found) == {1}
    np.testing.assert_array_equal(found[1], session.engine.step({**plain(), **read}).reads[1])
