"""The loop against DDIM written out, and what stops it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from scumble.arrays import Bools, Floats
from scumble.controls import Also, Branch, Guide, Mix, Read, Region, Route, Term
from scumble.engine import StepOutput
from scumble.errors import NumericalError, PluginError
from scumble.hookspecs import (
    BeforeView,
    GuidedNoise,
    RunView,
    StepView,
    Trajectory,
    hookimpl,
)
from scumble.host import Host
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.sampler import Progress, Sampled, guided, sample
from scumble.schedule import Job, Schedule
from scumble.schedulers import DDIM
from scumble.session import Session
from scumble.source_memory import SourceMemory
from scumble.stochastic import noised
from scumble.testing import FakeEngine, fake_session
from scumble.testing.fake_engine import TOKENS

STEPS = 3
ON = np.ones(STEPS, dtype=bool)
TARGET, SOURCE = Branch(1), Branch(0)


def view(session: Session, guidance: float = 7.5, steps: int = STEPS) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        steps, guidance, encode("a red cat"), (encode("a blue cat"),), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, steps), 0, None, None, {}, session.predict,
        session.look, session.tokenizer.encode,
    )  # fmt: skip


def planned(
    session: Session,
    *plans: Plan,
    recorded: bool = False,
    guide: bool = True,
    replayed: Bools | None = None,
    embedded: bool = False,
    **more: Any,
) -> Schedule:
    off = np.zeros(STEPS, dtype=bool)
    job = replace(
        planned_job(("a red cat", "a blue cat")),
        unconditional=None if embedded else "",
        guided=guide,
        recorded=recorded,
        replayed=off if replayed is None else replayed,
    )
    return compile_plans(plans, job, session.info.sizes((8, 8)), **more)


def planned_job(prompts: tuple[str, ...]) -> Job:
    off = np.zeros(STEPS, dtype=bool)
    return Job(STEPS, prompts, "", frozenset({0, 1}), True, False, True, off, off)


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


class Hearing(FakeEngine):
    """Keeps what it is given."""

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.heard: list[dict[str, Any]] = []

    def _step(self, ports: Mapping[str, object]) -> StepOutput:
        self.heard.append(dict(ports))
        return super()._step(ports)


class Own:
    """A handle that no other engine can read."""

    def __init__(self, value: Floats) -> None:
        self.value = value
        self.nbytes = value.nbytes


class Private(Hearing):
    """Keeps what it records in handles of its own, and replays nothing else."""

    def to_host(self, handle: Any) -> Floats:
        return handle.value

    def _step(self, ports: Mapping[str, Any]) -> StepOutput:
        paths = [f"source.{site.path}" for site in self.info.sites]
        output = super()._step(
            {name: port.value if name in paths else port for name, port in ports.items()}
        )
        recorded: dict[str, Any] = output.recorded
        return replace(output, recorded={name: Own(value) for name, value in recorded.items()})


class Masks(Plugin):
    """Gives masks that change from step to step, and notes what it was shown."""

    def __init__(self, **given: Floats) -> None:
        super().__init__(NoOptions())
        self.given = given
        self.seen: list[BeforeView] = []

    @hookimpl
    def scumble_before_step(self, step: BeforeView) -> Mapping[str, Floats]:
        self.seen.append(step)
        return {name: np.roll(mask, step.index, axis=0) for name, mask in self.given.items()}


class TestNamedMasks:
    STRIPE, BLOCK = np.eye(8)[[0] * 8], np.eye(8)

    def test_they_reach_their_port_and_row(self, tmp_path: Path):
        session = fake_session(tmp_path, Hearing)
        engine: Any = session.engine
        plans = (
            Plan((Region(TARGET, "m", self.STRIPE, (0,), ON),), "a"),
            Plan((Region(SOURCE, "m", "n", (1,), ON),), "b"),
        )
        schedule = planned(session, *plans)
        host = Host.of(a=Masks(m=self.BLOCK), b=Masks(m=1 - self.BLOCK, n=self.STRIPE))
        done = sampled(session, schedule=schedule, host=host)
        for index, ports in enumerate(engine.heard):
            rows = {(r.picture, r.conditional): i for i, r in enumerate(schedule.steps[index].rows)}
            source, target = rows[0, True], rows[1, True]
            block = np.roll(self.BLOCK, index, axis=0)
            query, key = ports["region.query"], ports["region.key"]
            np.testing.assert_array_equal(query[target], block)
            np.testing.assert_array_equal(query[source], 1 - block)
            np.testing.assert_array_equal(key[target], self.STRIPE)
            np.testing.assert_array_equal(key[source], np.roll(self.STRIPE, index, axis=0))
            others = [row for row in range(len(query)) if row not in (source, target)]
            assert not query[others].any()
            np.testing.assert_array_equal(done.masks[index]["a"]["m"], block)
        # The schedule is as it was, and can be carried out again.
        assert not any(step.ports["region.query"].any() for step in schedule.steps)

    def test_one_that_does_not_change_is_a_mask_of_the_plan(self, session: Session):
        class Still(Masks):
            @hookimpl
            def scumble_before_step(self, step: BeforeView) -> Mapping[str, Floats]:
                return self.given

        named = planned(session, Plan((Region(TARGET, "m", "m", (0, 2), ON),), "mine"))
        fixed = planned(
            session, Plan((Region(TARGET, self.BLOCK, self.BLOCK, (0, 2), ON),), "mine")
        )
        found = sampled(session, schedule=named, host=Host.of(mine=Still(m=self.BLOCK)))
        wanted = sampled(session, schedule=fixed)
        np.testing.assert_array_equal(found.latents[1], wanted.latents[1])
        assert np.abs(wanted.latents[1] - sampled(session).latents[1]).max() > 1e-2

    def test_one_that_is_not_given(self, session: Session):
        on = np.array([False, True, True])
        schedule = planned(session, Plan((Region(TARGET, "m", "n", (0,), on),), "mine"))
        both = Masks(m=self.BLOCK, n=self.BLOCK)
        sampled(session, schedule=schedule, host=Host.of(mine=both))
        for host in (
            Host.of(mine=Masks(m=self.BLOCK)),
            Host.of(mine=Masks(m=self.BLOCK), other=Masks(n=self.BLOCK)),
        ):
            with pytest.raises(PluginError, match="plugin 'mine' gave no mask 'n' at step 1"):
                sampled(session, schedule=schedule, host=host)
        with pytest.raises(PluginError, match="plugin 'mine' gave no mask 'm' at step 1"):
            sampled(session, schedule=schedule)

    def test_what_the_hook_is_shown(self, session: Session):
        on = np.array([True, False, True])
        read = Read("r", TARGET, np.ones((1, TOKENS)), (0, 2), on)
        plugin, run = Masks(), view(session)
        done = sampled(session, schedule=planned(session, Plan((read,), "mine")), run=run,
                       host=Host.of(mine=plugin))  # fmt: skip
        assert [step.index for step in plugin.seen] == [0, 1, 2]
        assert [step.timestep for step in plugin.seen] == run.scheduler.timesteps.tolist()
        assert [set(step.reads) for step in plugin.seen] == [set(), {"r"}, set()]
        assert plugin.seen[1].reads["r"].shape == (1, 8, 8)
        for step, level in zip(plugin.seen, done.levels, strict=True):
            assert set(step.latents) == {0, 1}
            for picture in (0, 1):
                np.testing.assert_array_equal(step.latents[picture], level[picture])


class Unconditional(Plugin):
    """Takes the text out of one picture, and notes what it was asked about."""

    def __init__(self, picture: int) -> None:
        super().__init__(NoOptions())
        self.picture = picture
        self.asked: list[tuple[BeforeView, GuidedNoise]] = []

    @hookimpl
    def scumble_guidance(self, step: BeforeView, noise: GuidedNoise) -> Floats | None:
        self.asked.append((step, noise))
        return noise.unconditional if noise.picture == self.picture else None


class TestGuidanceHook:
    @pytest.mark.parametrize("changed", [0, 1])
    def test_it_changes_its_picture_alone(self, session: Session, changed: int):
        run = view(session)
        done = sampled(session, host=Host.of(mine=Unconditional(changed)), run=run)
        plain = sampled(session)
        latent = noise_at()
        for index, timestep in enumerate(run.scheduler.timesteps):
            noise = session.predict(latent, int(timestep), "")
            latent = run.scheduler.forward(latent, noise, index)
        np.testing.assert_allclose(done.latents[changed], latent, atol=1e-12)
        np.testing.assert_array_equal(done.latents[1 - changed], plain.latents[1 - changed])

    def test_what_it_is_shown(self, session: Session):
        plugin, run = Unconditional(-1), view(session)
        done = sampled(session, host=Host.of(mine=plugin), run=run)
        asked = [(step.index, noise.picture) for step, noise in plugin.asked]
        assert asked == [(index, picture) for index in range(STEPS) for picture in (0, 1)]
        for step, noise in plugin.asked:
            level = done.levels[step.index][noise.picture]
            np.testing.assert_array_equal(step.latents[noise.picture], level)
            text = ("a red cat", "a blue cat")[noise.picture]
            for found, told in ((noise.unconditional, ""), (noise.conditional, text)):
                wanted = session.predict(level, step.timestep, told)
                np.testing.assert_allclose(found, wanted, atol=1e-12)
            mixed = noise.unconditional + 7.5 * (noise.conditional - noise.unconditional)
            np.testing.assert_allclose(noise.guided, mixed, atol=1e-12)

    def test_reads_and_further_rows_are_those_of_the_very_step(self, session: Session):
        on = np.array([False, True, *[True] * (STEPS - 2)])
        sites = session.info.sites.select("cross", strides=(1,))
        read = Read("r", Branch(1), np.eye(16)[1:2], sites, on)
        also = [Also("dog", Branch(1, "a dog"), on), Also("cat", Branch(0, "a cat"), on)]
        plugin, run = Unconditional(-1), view(session)
        schedule = planned(session, Plan((read, *also)))
        done = sampled(session, host=Host.of(mine=plugin), run=run, schedule=schedule)
        for step, noise in plugin.asked:
            if step.index == 0:
                assert (noise.reads, noise.also) == ({}, {})
                continue
            level = done.levels[step.index]
            name, text = (("cat", "a cat"), ("dog", "a dog"))[noise.picture]
            assert set(noise.also) == {name}
            wanted = session.predict(level[noise.picture], step.timestep, text)
            np.testing.assert_allclose(noise.also[name], wanted, atol=1e-12)
            looked = session.look(level[1], step.timestep, "a blue cat", np.eye(16)[1:2], sites)
            np.testing.assert_allclose(noise.reads["r"], looked, atol=1e-12)
            assert (step.reads == {}) == (step.index == 1)
            for array in (noise.also[name], noise.reads["r"]):
                assert not array.flags.writeable

    def test_where_nothing_is_guided_it_is_not_asked(self, session: Session):
        plugin = Unconditional(1)
        levels = np.stack([noise_at(level) for level in range(STEPS + 1)])
        held = Trajectory(levels, pinned=True)
        schedule = planned(session, recorded=True)
        sampled(session, host=Host.of(mine=plugin), schedule=schedule, trajectory=held)
        assert {noise.picture for _, noise in plugin.asked} == {1}
        plugin.asked.clear()
        sampled(session, host=Host.of(mine=plugin), run=view(session, 1.0),
                schedule=planned(session, guide=False))  # fmt: skip
        assert plugin.asked == []


def guide(on: Bools = ON, **changed: Any) -> Guide:
    words = np.eye(TOKENS)[2]
    values: dict[str, Any] = {
        "terms": (Term("token", words, np.ones((8, 8)), 1.0),),
        "sites": (0, 2),
        "iterations": 2,
        "rate": np.array([0.1, 0.2, 0.3]),
        "within": np.ones((8, 8)),
    }
    return Guide(TARGET, steps=on, **(values | changed))


class TestGuides:
    """The target takes keys of the source throughout; see the fixture for the loss."""

    ROUTE = Route(TARGET, ON, (0, 1, 2), key=SOURCE)
    LEVELS = np.stack([noise_at(level) for level in range(STEPS + 1)])
    HELD = Trajectory(LEVELS, pinned=True)

    def by_hand(self, session: Session) -> Floats:
        """Every row of every step run by itself, and the slope as the loss has it."""
        run, latent = view(session), noise_at()
        texts = [session.embed(text).states for text in ("", "a red cat", "a blue cat")]
        rows = np.tile(np.arange(3), (3, 3, 1))
        rows[:, 1, 2] = 1
        for index, timestep in enumerate(run.scheduler.timesteps):
            ports = {"timestep": np.full(3, timestep), "text": np.stack(texts)}
            source = self.LEVELS[index]
            told = session.engine.step(
                {**ports, "sample": np.stack([latent, source, latent]), "record.row": np.array([1])}
            ).recorded
            state = [*told.values(), texts[1]]
            wanted = 1 + sum(float(np.abs(np.asarray(value)).mean()) for value in state)
            for _ in range(2):
                latent = latent - (0.1, 0.2, 0.3)[index] * (latent - wanted)
            ports |= {"sample": np.stack([latent, source, latent]), "route": rows}
            noise = session.engine.step(ports).noise
            mixed = noise[0] + 7.5 * (noise[2] - noise[0])
            latent = run.scheduler.forward(latent, mixed, index)
        return latent

    def run(self, session: Session, source: str = "", **given: Any) -> Sampled:
        schedule = planned(session, Plan((guide(), self.ROUTE), "mag"), recorded=True, **given)
        return sampled(session, schedule=schedule, trajectory=self.HELD, source=source)

    def test_latents_move_before_their_step(self, guided: Session):
        done = self.run(guided)
        np.testing.assert_allclose(done.latents[1], self.by_hand(guided), atol=1e-12)
        assert [(each.step, each.picture, len(each.losses)) for each in done.guided] == [
            (0, 1, 2), (1, 1, 2), (2, 1, 2),
        ]  # fmt: skip
        # A step starts from the latent that was moved, and maps are computed from there.
        assert np.abs(done.levels[0][1] - noise_at()).max() > 0.1
        np.testing.assert_array_equal([level[0] for level in done.levels], self.LEVELS[:-1])

    def test_they_see_the_targets_prompt(self, guided: Session):
        self.run(guided)
        engine: Any = guided.engine
        wanted = guided.embed("a blue cat").states[None]
        for ports in engine.asked:
            np.testing.assert_array_equal(ports["text"], wanted)

    def test_the_source_is_told_once_and_replayed(self, guided: Session):
        self.run(guided)
        assert guided.rows == {"record": 3, "gradient": 6, "replay+route": 6}

    def test_every_row_run_by_itself_gives_the_same(self, guided: Session):
        reduced = self.run(guided)
        guided.rows.clear()
        whole = self.run(guided, reduce=False)
        assert guided.rows == {"record": 3, "gradient": 6, "route": 12}
        np.testing.assert_allclose(reduced.latents[1], whole.latents[1], atol=1e-9)

    def test_steps_without_a_guide_run_as_ever(self, guided: Session):
        on = np.array([False, True, False])
        schedule = planned(guided, Plan((guide(on), self.ROUTE), "mag"), recorded=True)
        sampled(guided, schedule=schedule, trajectory=self.HELD)
        assert guided.rows == {"record": 1, "gradient": 2, "route": 6, "replay+route": 2}

    def test_what_was_told_is_remembered(self, guided: Session):
        guided.sources = SourceMemory(guided.engine, 1 << 30)
        first = self.run(guided, source="a picture")
        guided.rows.clear()
        known = guided.sources.steps("a picture", STEPS)
        assert known.all()
        again = self.run(guided, source="a picture", replayed=known)
        assert guided.rows == {"gradient": 6, "replay+route": 6}
        np.testing.assert_array_equal(again.latents[1], first.latents[1])

    @pytest.mark.parametrize("remembered", [False, True])
    def test_gradients_of_another_engine(self, tmp_path: Path, guided: Session, remembered: bool):
        """It is told the source by itself, for it cannot replay what the run's engine recorded."""
        session = fake_session(tmp_path / "apart", Private)
        session.take_gradients_from(guided)
        session.sources = SourceMemory(session.engine, 1 << 30)
        engine: Any = session.engine
        replayed = np.zeros(STEPS, dtype=bool)
        if remembered:
            for index, timestep in enumerate(view(session).scheduler.timesteps):
                alone = {
                    "sample": self.LEVELS[index][None],
                    "timestep": np.array([timestep]),
                    "text": session.embed("a red cat").states[None],
                    "record.row": np.zeros(1, np.int64),
                }
                recorded = session.engine.step(alone).recorded
                session.sources.record("a picture", index, recorded)
            replayed[:] = True
            engine.heard.clear()
        done = self.run(session, source="a picture", apart=True, replayed=replayed)
        main = {"replay+route": 6} if remembered else {"route": 9}
        assert session.rows == {"record": 3, "gradient": 6, **main}
        assert len(engine.heard) == 3
        assert session.sources.steps("a picture", STEPS).all() == remembered
        np.testing.assert_allclose(done.latents[1], self.by_hand(guided), atol=1e-12)

    def test_several_guides_go_one_after_the_other(self, guided: Session):
        first, second = guide(iterations=1), guide(iterations=1, rate=np.full(STEPS, 0.5))
        plans = [Plan((first,), "a"), Plan((second,), "b")]
        done = sampled(guided, schedule=planned(guided, *plans))
        np.testing.assert_allclose(done.levels[0][1], 1 + 0.5 * 0.9 * (noise_at() - 1), atol=1e-12)
        losses = [each.losses[0] for each in done.guided[:2]]
        np.testing.assert_allclose(losses[1], 0.81 * losses[0])

    def test_a_mix_that_is_in_force_holds_in_the_gradient(self, guided: Session):
        at = np.array([-1, 0, -1])
        mix = Mix(TARGET, SOURCE, np.eye(TOKENS)[None], np.zeros((1, TOKENS)), at, (0,))
        sampled(guided, schedule=planned(guided, Plan((guide(iterations=1), mix), "mag")))
        engine: Any = guided.engine
        assert [ports["mix.row"].tolist() for ports in engine.asked] == [[0], [1], [0]]


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


class TestInversions:
    """What an inversion gives beside latents holds for every picture."""

    LEVELS = np.stack([noise_at(level) for level in range(STEPS + 1)])
    TEXTS = np.random.default_rng(9).standard_normal((STEPS, TOKENS, 8))

    def by_hand(self, session: Session, text: str, way: Trajectory) -> Floats:
        """One picture's two rows by themselves; its steps add noise as published."""
        run, latent = view(session), noise_at()
        for index, timestep in enumerate(run.scheduler.timesteps):
            at, given = np.array([timestep]), way.embeddings
            plain = "" if given is None else session.embedding(np.asarray(given)[index], "")
            untold, told = (
                session.predict_rows(latent[None], at, [text])[0] for text in (plain, text)
            )
            noise = untold + 7.5 * (told - untold)
            if way.noises is None:
                latent = run.scheduler.forward(latent, noise, index)
            else:
                latent = noised(run.scheduler, latent, noise, index, way.noises[index], way.eta)
        return latent

    @pytest.mark.parametrize("eta", [0.5, 1.0])
    def test_noises_are_added_by_source_and_targets(self, session: Session, eta: float):
        noises = np.random.default_rng(7).standard_normal((STEPS, 4, 8, 8))
        way = Trajectory(self.LEVELS, pinned=False, noises=noises, eta=eta)
        done = sampled(session, trajectory=way)
        for picture, text in enumerate(("a red cat", "a blue cat")):
            np.testing.assert_allclose(
                done.latents[picture], self.by_hand(session, text, way), atol=1e-12
            )

    def test_embeddings_are_what_unconditional_rows_see(self, session: Session):
        way = Trajectory(self.LEVELS, pinned=False, embeddings=self.TEXTS)
        done = sampled(session, trajectory=way, schedule=planned(session, embedded=True))
        for picture, text in enumerate(("a red cat", "a blue cat")):
            np.testing.assert_allclose(
                done.latents[picture], self.by_hand(session, text, way), atol=1e-12
            )

    def test_a_row_that_sees_them_is_no_other_rows(self, session: Session):
        """Not even of a picture without a prompt, whose rows are one where no text is given."""
        of, sizes = planned_job(("", "a blue cat")), session.info.sizes((8, 8))
        rows = {
            given: [
                len(s.rows)
                for s in compile_plans([], replace(of, unconditional=given), sizes).steps
            ]
            for given in ("", None)
        }
        assert rows == {"": [2, 3, 3], None: [3, 4, 4]}
        (step, *_) = compile_plans([], replace(of, unconditional=None), sizes).steps
        assert [row.text for row in step.rows if not row.conditional] == [None]

    def test_hooks_know_the_trajectory(self, session: Session):
        class Looks(Plugin):
            seen: ClassVar[list[Any]] = []

            @hookimpl
            def scumble_after_step(self, run: RunView, step: StepView) -> None:
                self.seen.append(run.trajectory)

        way = Trajectory(self.LEVELS, pinned=True)
        sampled(session, trajectory=way, host=Host.of(looks=Looks(NoOptions())))
        assert Looks.seen == [way] * STEPS
