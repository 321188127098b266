from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from scumble.arrays import Floats
from scumble.hookspecs import RunView
from scumble.host import Host
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.sampler import guided, sample
from scumble.schedule import Job
from scumble.session import Session

SHAPE = (4, 64, 64)


def noise(rows: int) -> Floats:
    return np.random.default_rng(rows).standard_normal((rows, *SHAPE), dtype=np.float32)


def test_guide_a_noise(benchmark: BenchmarkFixture):
    rows = noise(3)
    expected = rows[1] + 7.5 * (rows[2] - rows[1])
    assert np.allclose(benchmark(guided, rows, 1, 2, 7.5), expected, atol=1e-5)


def test_take_a_ddim_step(benchmark: BenchmarkFixture, view: RunView):
    latent, predicted = noise(2)
    moved = benchmark(view.scheduler.forward, latent, predicted, 20)
    alphas = view.scheduler.config.alphas_cumprod()
    at, to = (alphas[view.scheduler.timesteps[index]] for index in (20, 21))
    clean = (latent - (1 - at) ** 0.5 * predicted) / at**0.5
    assert np.allclose(moved, to**0.5 * clean + (1 - to) ** 0.5 * predicted, atol=1e-5)


def test_sample_fifty_steps_on_an_engine_that_answers_at_once(
    benchmark: BenchmarkFixture, session: Session, view: RunView, plan: Plan, job: Job
):
    """All that the host does in a run, but for the text: this is its overhead."""
    live = replace(job, recorded=False)
    schedule = compile_plans([plan], live, session.info.sizes((64, 64)))
    (start,) = noise(1)
    at: Mapping[int, Floats] = {0: start, 1: start}
    found = benchmark(sample, session, Host(()), view, schedule, at)
    (still,) = session.engine.step(
        {"sample": start[None], "timestep": np.zeros(1, dtype=int),
         "text": np.zeros((1, 77, 768), dtype=np.float32)}
    ).noise  # fmt: skip
    expected = start
    for index in range(view.steps):
        expected = view.scheduler.forward(expected, still, index)
    assert np.allclose(found.latents[1], expected, atol=1e-4)
