"""A step in parts is the whole step, on an engine that shares nothing with the real ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scumble.batches import join, least_rows, split_rows
from scumble.engine import Engine, EngineSettings, StepOutput
from scumble.errors import UnsupportedError
from scumble.ports import INPUTS, Group, PortSizes, check_inputs, groups_of, neutral
from scumble.testing import FakeEngine, fake_checkpoint
from scumble.testing.fake_engine import CHANNELS, FEATURES, SITES, TOKENS

SIZES = PortSizes((CHANNELS, 8, 8), TOKENS, FEATURES, SITES)
REFERRING: tuple[Group, ...] = ("route", "mix", "feature", "join")
Ports = dict[str, Any]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    loaded = FakeEngine(EngineSettings("fp64"))
    loaded.load(fake_checkpoint(tmp_path_factory.mktemp("model")))
    return loaded


def plain(rows: int, seed: int = 0) -> Ports:
    rng = np.random.default_rng(seed)
    return {
        "sample": rng.standard_normal((rows, CHANNELS, 8, 8)),
        "timestep": rng.integers(0, 1000, rows),
        "text": rng.standard_normal((rows, TOKENS, FEATURES)),
    }


def edited(
    rows: int, seed: int, groups: tuple[Group, ...], spread: int, replayed: Ports | None = None
) -> Ports:
    """Random ports; rows refer within blocks of `spread` rows, and to the replayed source."""
    rng = np.random.default_rng(seed)
    ports = plain(rows, seed) | (replayed or {})
    own = np.arange(rows)
    for group in groups:
        ports |= neutral(group, SIZES, rows, replayed is not None)
    for name in ("route", "mix.row", "join.row", "feature_route"):
        if name not in ports:
            continue
        shape = ports[name].shape
        others = own - own % spread + rng.integers(0, spread, shape)
        chosen = np.where(rng.random(shape) < 0.5, np.minimum(others, rows - 1), own)
        if replayed is not None and name != "feature_route":
            chosen = np.where(rng.random(shape) < 0.2, rows, chosen)
        ports[name] = chosen
    for name in ("mix.source", "mix.own", "mix.sites", "region.query", "region.key"):
        if name in ports:
            ports[name] = rng.random(ports[name].shape).round(0 if "." in name else 3)
    if "region" in groups:
        ports["region.sites"] = rng.integers(0, 2, ports["region.sites"].shape).astype(float)
    if "join" in groups:
        ports["join.sites"] = rng.integers(0, 2, ports["join.sites"].shape).astype(float)
    if "read" in groups:
        ports["read.weights"] = rng.random((rows + (replayed is not None), 3, TOKENS))
        ports["read.sites"] = np.ones(SITES.count("cross"))
    if "record" in groups:
        ports["record.row"] = rng.integers(0, rows, 1)
    return ports


def replay_of(engine: Engine) -> Ports:
    """The replay ports of a recorded row."""
    ports = plain(1, seed=99)
    recorded = engine.step({**ports, "record.row": np.zeros(1, np.int64)}).recorded
    return {**recorded, "source.text": ports["text"]}


def in_parts(engine: Engine, ports: Ports, limit: int) -> StepOutput:
    parts = split_rows(ports, limit)
    for part in parts:
        assert check_inputs(part.ports, SIZES) == len(part.rows) <= limit
    return join(parts, [engine.step(part.ports) for part in parts])


def close(found: Any, wanted: Any) -> bool:
    """Equal but for the order in which a matrix product adds, which depends on its rows."""
    return found.shape == wanted.shape and bool(np.abs(found - wanted).max() < 1e-12)


def require_equal(found: StepOutput, wanted: StepOutput) -> None:
    assert close(found.noise, wanted.noise)
    assert found.reads.keys() == wanted.reads.keys()
    for stride, field in wanted.reads.items():
        assert close(found.reads[stride], field)
    assert found.recorded.keys() == wanted.recorded.keys()
    for name, handle in wanted.recorded.items():
        assert close(found.recorded[name], handle)
    assert found.bound == wanted.bound


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 20),
    spread=st.integers(1, 4),
    limit=st.integers(4, 20),
    seed=st.integers(0, 2**32),
    groups=st.sets(st.sampled_from((*REFERRING, "read", "region", "record"))),
    with_replay=st.booleans(),
)
def test_parts_are_the_whole_step(
    engine: Engine, rows: int, spread: int, limit: int, seed: int, groups: set[Group],
    with_replay: bool,
):  # fmt: skip
    """Rows refer to at most three others, so four at once always suffice."""
    replayed = replay_of(engine) if with_replay else None
    ports = edited(rows, seed, tuple(sorted(groups)), spread, replayed)
    require_equal(in_parts(engine, ports, limit), engine.step(ports))


@pytest.mark.parametrize("rows", range(1, 21))
def test_every_number_of_rows(engine: Engine, rows: int):
    ports = edited(rows, rows, ("route", "mix", "read", "feature", "region", "record"), 2)
    whole = engine.step(ports)
    for limit in {2, 8}:
        require_equal(in_parts(engine, ports, limit), whole)


def test_twenty_targets_of_one_source_fit_a_pack_of_eight(engine: Engine):
    """[source, 20 without text, 20 with], each of the last from the source: six parts of eight."""
    rows = 41
    ports = plain(rows) | neutral("route", SIZES, rows) | neutral("mix", SIZES, rows)
    ports["route"][:, :2, 21:] = 0
    ports["mix.row"][21:] = 0
    ports["mix.source"][21:] = np.eye(TOKENS)
    ports["mix.own"][21:] = 0.5
    ports["mix.sites"][:, 21:] = 1
    parts = split_rows(ports, 8)
    assert len(parts) == 6
    assert sum(len(part.rows) for part in parts) == rows + 2
    require_equal(in_parts(engine, ports, 8), engine.step(ports))
    # Not because nothing was at stake: without the source, the edited rows are others.
    alone = {name: ports[name] for name in plain(1)}
    assert np.abs(engine.step(alone).noise - engine.step(ports).noise)[21:].min(axis=0).max() > 0.01


def test_what_refers_to_nothing_beyond_itself_needs_no_company():
    parts = split_rows(plain(5), 2)
    assert [part.rows for part in parts] == [(0, 1), (2, 3), (4,)]
    assert least_rows(plain(5)) == 1


def test_what_fits_is_left_as_it_is():
    ports = edited(4, 0, ("route",), 4)
    (part,) = split_rows(ports, 4)
    assert part.ports is ports
    assert part.own == (0, 1, 2, 3)


def test_references_are_followed_to_their_end(engine: Engine):
    """2 refers to 1 and 1 to 0, and what 1 is depends on 0 from the first site on."""
    ports = plain(4) | neutral("route", SIZES, 4)
    ports["route"][:, 1:, 2] = 1
    ports["route"][:, 1:, 1] = 0
    assert least_rows(ports) == 3
    whole = engine.step(ports)
    require_equal(in_parts(engine, ports, 3), whole)
    with pytest.raises(UnsupportedError):
        split_rows(ports, 2)


def test_a_row_that_refers_to_too_many_says_so():
    ports = plain(6) | neutral("feature", SIZES, 6)
    ports["feature_route"][:, 5] = np.arange(2) + 1
    ports["feature_route"][:, 2] = 4
    with pytest.raises(UnsupportedError, match="depends on 3 others and 3 rows are the most"):
        split_rows(ports, 3)
    assert least_rows(ports) == 4


def test_the_row_to_record_is_recorded_once(engine: Engine):
    ports = edited(9, 3, ("route", "record"), 3)
    parts = split_rows(ports, 3)
    recording = [part for part in parts if "record.row" in part.ports]
    assert len(recording) == 1
    assert all("record" not in groups_of(p.ports) for p in parts if p is not recording[0])
    require_equal(in_parts(engine, ports, 3), engine.step(ports))


def test_every_port_with_rows_is_cut():
    """A port that is declared later is cut too, or this fails."""
    ports = edited(6, 1, ("route", "mix", "read", "feature", "region", "join"), 1)
    part = split_rows(ports, 2)[1]
    for port in INPUTS:
        if port.name in ports:
            cut = part.ports[port.name]
            assert isinstance(cut, np.ndarray)
            whole = {"rows", "addressable"}.isdisjoint(port.axes)
            assert (cut.shape == ports[port.name].shape) == whole


def test_a_row_stays_with_the_one_that_it_joins(engine: Engine):
    ports = plain(5) | neutral("join", SIZES, 5)
    ports["join.row"][3] = 0
    ports["join.sites"][1, 3] = 1
    assert [part.rows for part in split_rows(ports, 2)] == [(0, 3), (1, 2), (4,)]
    whole = engine.step(ports)
    require_equal(in_parts(engine, ports, 2), whole)
    # Not because nothing was at stake: by itself, the row is another.
    assert np.abs(whole.noise[3] - engine.step(plain(5)).noise[3]).max() > 0.01


def test_nothing_given_is_changed():
    ports = edited(6, 2, ("route", "mix"), 2)
    before = {name: value.copy() for name, value in ports.items()}
    split_rows(ports, 2)
    assert all(np.array_equal(ports[name], before[name]) for name in ports)


def test_what_a_row_is_told_beside_its_text_goes_with_it():
    sizes = replace(SIZES, pooled=5)
    ports = plain(5)
    ports["added.text"] = np.arange(25.0).reshape(5, 5)
    ports["added.size"] = np.arange(30.0).reshape(5, 6)
    parts = split_rows(ports, 2)
    assert len(parts) == 3
    for part in parts:
        assert check_inputs(part.ports, sizes) == len(part.rows)
        for name in ("added.text", "added.size"):
            assert np.array_equal(np.asarray(part.ports[name]), ports[name][list(part.rows)])
