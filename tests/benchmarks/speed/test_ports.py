import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from scumble.arrays import Array
from scumble.batches import join, split_rows
from scumble.engine import StepOutput
from scumble.hookspecs import RunView
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.ports import check_inputs, neutral
from scumble.sampler import step_ports
from scumble.schedule import Job
from scumble.session import Session

ROWS, LIMIT = 24, 8


@pytest.fixture
def wide(session: Session) -> dict[str, Array]:
    """A step of eight edits, whose targets take the maps of their own source row."""
    sizes = session.info.sizes((64, 64))
    rng = np.random.default_rng(2)
    ports: dict[str, Array] = {
        "sample": rng.standard_normal((ROWS, 4, 64, 64), dtype=np.float32),
        "timestep": np.full(ROWS, 500),
        "text": np.zeros((ROWS, sizes.tokens, sizes.features), dtype=np.float32),
        **neutral("route", sizes, ROWS),
        **neutral("mix", sizes, ROWS),
    }
    ports["mix.row"] = np.arange(ROWS) - np.arange(ROWS) % 3
    ports["route"][:, :2] = ports["mix.row"]
    return ports


def test_assemble_the_ports_of_a_step(
    benchmark: BenchmarkFixture, session: Session, view: RunView, plan: Plan, job: Job
):
    step = compile_plans([plan], job, session.info.sizes((64, 64))).steps[0]
    latents = {picture: np.full((4, 64, 64), picture, dtype=np.float32) for picture in (0, 1)}
    ports = benchmark(step_ports, session, view, step, latents, {})
    sample = ports["sample"]
    assert isinstance(sample, np.ndarray)
    assert [row[0, 0, 0] for row in sample] == [row.picture for row in step.rows]
    assert {"route", "mix.source", "read.weights"} <= set(ports)


def test_check_the_ports_of_a_step(
    benchmark: BenchmarkFixture, session: Session, wide: dict[str, Array]
):
    assert benchmark(check_inputs, wide, session.info.sizes((64, 64))) == ROWS


def test_split_a_wide_step(benchmark: BenchmarkFixture, wide: dict[str, Array]):
    parts = benchmark(split_rows, wide, LIMIT)
    assert max(len(part.rows) for part in parts) <= LIMIT
    assert sorted(part.rows[own] for part in parts for own in part.own) == list(range(ROWS))


def test_join_a_wide_step(benchmark: BenchmarkFixture, wide: dict[str, Array]):
    parts = split_rows(wide, LIMIT)
    outputs = [StepOutput(wide["sample"][list(part.rows)], {}, {}, frozenset()) for part in parts]
    assert np.array_equal(benchmark(join, parts, outputs).noise, wide["sample"])
