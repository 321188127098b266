"""The loop against DDIM written out, and what stops it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.engine import StepOutput
from scumble.errors import NumericalError
from scumble.hookspecs import RunView, StepView, Trajectory, hookimpl
from scumble.host import Host
from scumble.planner import compile_plans
from scumble.plans import Branch, Plan, Route
from scumble.plugins import NoOptions, Plugin
from scumble.sampler import Progress, Sampled, guided, sample
from scumble.schedule import Job, Schedule
from scumble.schedulers import DDIM
from scumble.session import Session
from scumble.testing import FakeEngine, fake_session

STEPS = 3


def view(session: Session, guidance: float = 7.5, steps: int = STEPS) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        steps, guidance, encode("a red cat"), (encode("a blue cat"),), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, steps), 0, None, None, session.predict,
    )  # fmt: skip


def planned(session: Session, *plans: Plan, recorded: bool = False, guide: bool = True) -> Schedule:
    off = np.zeros(STEPS, dtype=bool)
    job = Job(
        STEPS, ("a red cat", "a blue cat"), "", frozenset({0, 1}), guide, recorded, True, off, off
    )
    return compile_plans(plans, job, session.info.sizes((8, 8)))


def noise_at(level: int = 0) -> Floats:
    return np.random.default_rng(level).standard_normal((4, 8, 8))


def sampled(session: Session, **given: Any) -> Sampled:
    start: dict[int, Floats] = dict.fromkeys((0, 1), noise_at())
    values = {"host": Host(()), "run": view(session), "schedule": planned(session)} | given
    return sample(session, start=start, **values)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_without_plans_each_picture_is_plain_ddim_under_guidance(session: Session, guidance: float):
    run = view(session, guidance)
    done = sampled(session, run=run, schedule=planned(session, guide=guidance != 1))
    for picture, text in enumerate(("a red cat", "a blue cat")):
        latent = noise_at()
        for index, timestep in enumerate(run.scheduler.timesteps):
            np.testing.assert_allclose(done.levels[index][picture], latent, atol=1e-12)
            plain, told = (session.predict(latent, int(timestep), t) for t in ("", text))
            mixed = plain + guidance * (told - plain)
            latent = run.scheduler.forward(latent, mixed, index)
        np.testing.assert_allclose(done.latents[picture], latent, atol=1e-12)


def test_guided_keeps_the_dtype():
    noise = np.ones((2, 4, 2, 2), np.float32)
    assert guided(noise, 0, 1, 7.5).dtype == np.float32
    assert guided(noise, None, 1, 7.5) is not None


class TestDirectInversion:
    """The source row takes the recorded latents."""

    def test_the_source_is_the_trajectory(self, session: Session):
        levels = np.stack([noise_at(level) for level in range(STEPS + 1)])
        schedule = planned(session, recorded=True)
        seen: list[Floats] = []
        done = sampled(
            session,
            schedule=schedule,
            trajectory=Trajectory(levels, pinned=True),
            callback=lambda progress: seen.append(progress.latents[0]),
        )
        np.testing.assert_array_equal(seen, levels[1:])
        np.testing.assert_array_equal(done.latents[0], levels[-1])
        np.testing.assert_array_equal([level[0] for level in done.levels], levels[:-1])

    def test_a_trajectory_that_is_not_pinned_is_not_held(self, session: Session):
        levels = np.stack([noise_at(level) for level in range(STEPS + 1)])
        free = sampled(session, trajectory=Trajectory(levels, pinned=False))
        np.testing.assert_array_equal(free.latents[0], sampled(session).latents[0])

    def test_overwriting_is_the_offset_form(self, session: Session):
        """Ju et al. 2023, algorithm 1: at each step add what the source lacks to the recording.

        Written out with the source's own guided noise and an offset, as published; the target
        takes Q and K of the source row throughout.
        """
        run = view(session)
        levels = np.stack([noise_at(level) for level in range(STEPS + 1)])
        on = np.ones(STEPS, dtype=bool)
        route = Route(Branch(1), on, (0, 1, 2), query=Branch(0), key=Branch(0))
        schedule = planned(session, Plan((route,), "p2p"), recorded=True)
        done = sampled(session, schedule=schedule, trajectory=Trajectory(levels, pinned=True))

        source, target = noise_at(), noise_at()
        texts = [session.embed(text).states for text in ("", "", "a red cat", "a blue cat")]
        rows = np.tile(np.arange(4), (3, 3, 1))
        rows[:, :2, 3] = 2
        source = levels[0]
        for index, timestep in enumerate(run.scheduler.timesteps):
            ports = {
                "sample": np.stack([source, target, source, target]),
                "timestep": np.full(4, timestep),
                "text": np.stack(texts),
                "route": rows,
            }
            noise = session.engine.step(ports).noise
            mixed = noise[:2] + 7.5 * (noise[2:] - noise[:2])
            moved = run.scheduler.forward(source, mixed[0], index)
            offset = levels[index + 1] - moved
            source = moved + offset
            target = run.scheduler.forward(target, mixed[1], index)
        np.testing.assert_allclose(done.latents[1], target, atol=1e-12)
        np.testing.assert_allclose(done.latents[0], source, atol=1e-12)


class TestHooks:
    def test_plugins_see_every_step_and_change_its_latents(self, session: Session):
        class Half(Plugin):
            seen: ClassVar[list[int]] = []

            @hookimpl
            def scumble_after_step(self, step: StepView) -> Mapping[int, Floats] | None:
                self.seen.append(step.index)
                return {1: step.latents[0]} if step.index == STEPS - 1 else None

        done = sampled(session, host=Host.of(half=Half(NoOptions())))
        assert Half.seen == [0, 1, 2]
        np.testing.assert_array_equal(done.latents[1], done.latents[0])

    def test_the_callback_is_told_after_the_plugins(self, session: Session):
        class Zero(Plugin):
            @hookimpl
            def scumble_after_step(self, step: StepView) -> Mapping[int, Floats]:
                return {1: np.zeros((4, 8, 8))}

        told: list[Progress] = []
        sampled(session, host=Host.of(zero=Zero(NoOptions())), callback=told.append)
        assert [(progress.step, progress.steps) for progress in told] == [(0, 3), (1, 3), (2, 3)]
        assert all(not progress.latents[1].any() for progress in told)

    def test_what_a_callback_raises_ends_the_run(self, session: Session):
        def stop(progress: Progress) -> None:
            raise RuntimeError(f"enough at {progress.step}")

        with pytest.raises(RuntimeError, match="enough at 0"):
            sampled(session, callback=stop)


def spoiled(change: Callable[[StepOutput], StepOutput], at: int) -> type[FakeEngine]:
    class Spoiled(FakeEngine):
        calls = 0

        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            self.calls += 1
            output = super()._step(ports)
            return change(output) if self.calls == at + 1 else output

    return Spoiled


class TestNumbersThatAreNone:
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("at", [0, 2])
    def test_in_the_noise(self, tmp_path: Path, value: float, at: int):
        def change(output: StepOutput) -> StepOutput:
            noise = output.noise.copy()
            noise[0, 1, 2, 3] = value
            return replace(output, noise=noise)

        session = fake_session(tmp_path, spoiled(change, at))
        message = f"the noise holds 1 values .* at step {at}"
        with pytest.raises(NumericalError, match=message):
            sampled(session)

    def test_in_a_latent(self, tmp_path: Path):
        """Finite noise, and more than float32 holds once guidance has scaled it."""

        def change(output: StepOutput) -> StepOutput:
            noise = np.full_like(output.noise, 1e38)
            noise[::2] *= -1
            return replace(output, noise=noise)

        session = fake_session(tmp_path, spoiled(change, 1), precision="fp32")
        start: dict[int, Floats] = dict.fromkeys((0, 1), noise_at().astype(np.float32))
        run, schedule = view(session, guidance=100), planned(session)
        message = "latent of picture . after step 1"
        with pytest.raises(NumericalError, match=message), np.errstate(all="ignore"):
            sample(session, Host(()), run, schedule, start)
