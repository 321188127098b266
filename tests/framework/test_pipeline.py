"""A whole run, from request to pixels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.controls import Branch, Guide, Route, Term
from scumble.engine import StepOutput
from scumble.errors import ControlError, NumericalError, OptionError, UnsupportedError
from scumble.hookspecs import BeforeView, GuidedNoise, RunView, Trajectory, hookimpl
from scumble.host import Host
from scumble.images import load_picture, to_model
from scumble.inversion import ddim_trajectory
from scumble.masks import Mask
from scumble.options import check_options
from scumble.pipeline import Finished, Pipeline
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.requests import SamplingRequest
from scumble.sampler import Progress
from scumble.session import Session
from scumble.source_memory import SourceMemory
from scumble.testing import FakeEngine, fake_session
from scumble.testing.fake_engine import TOKENS


class Inverts(Plugin):
    pinned = True

    def takes_mask(self, name: str) -> bool:
        return True

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        return Trajectory(ddim_trajectory(run), pinned=self.pinned)


class Drifts(Inverts):
    pinned = False


class Routes(Plugin):
    """Takes K and V of the source throughout, and keeps what it was shown."""

    run: RunView

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        self.run = run
        on = np.ones(run.steps, dtype=bool)
        sites = run.sites.select("self")
        return Plan((Route(Branch(1), on, sites, key=Branch(0), value=Branch(0)),))


def pipeline(session: Session, plugin: Plugin | None = None, **given: Any) -> Pipeline:
    chosen = {name: given.pop(name) for name in list(given) if name in SamplingRequest.model_fields}
    request = check_options(SamplingRequest, {"steps": 3} | chosen, "test")
    values: dict[str, Any] = {
        "prompts": ("a red cat", "a blue cat"),
        "wanted": frozenset({0, 1}),
        "host": Host(()) if plugin is None else Host.of(mine=plugin),
    }
    return Pipeline(session, request, **(values | given))


def edited(session: Session, picture: Any, plugin: Plugin | None = None, **given: Any) -> Finished:
    inversion = Host.of(inverts=given.pop("inverts", Inverts)(NoOptions()))
    loaded = load_picture(picture)
    return pipeline(session, plugin, picture=loaded, inversion=inversion, **given).finish()


class TestGenerated:
    def test_it_starts_from_the_seed(self, session: Session):
        first, again = (pipeline(session, seed=4).finish() for _ in range(2))
        other = pipeline(session, seed=5).finish()
        for picture in (0, 1):
            np.testing.assert_array_equal(first.latents[picture], again.latents[picture])
            assert not np.array_equal(first.latents[picture], other.latents[picture])
            assert first.pixels[picture].shape == (64, 64, 3)
            assert first.pixels[picture].dtype == np.uint8
        assert first.trajectory is None
        assert first.rows == {"plain": 3 + 4 + 4}

    def test_only_what_is_wanted_is_decoded(self, session: Session):
        done = pipeline(session, wanted=frozenset({1})).finish()
        assert set(done.pixels) == {1}
        assert done.rows == {"plain": 6}

    def test_rows_are_those_of_this_run(self, session: Session):
        first = pipeline(session, Routes(NoOptions())).finish()
        assert first.rows == {"route": 11}
        assert pipeline(session, Routes(NoOptions())).finish().rows == first.rows

    def test_another_size(self, session: Session):
        done = pipeline(session, size=(40, 24)).finish()
        assert done.latents[0].shape == (4, 5, 3)
        assert done.pixels[0].shape == (40, 24, 3)

    @pytest.mark.parametrize("size", [(60, 64), (64, 63)])
    def test_a_size_that_does_not_fit(self, session: Session, size: tuple[int, int]):
        message = f"size is {size[0]}x{size[1]}; this model needs multiples of 8"
        with pytest.raises(OptionError, match=message):
            pipeline(session, size=size).finish()

    def test_every_step_is_called_back(self, session: Session):
        told: list[Progress] = []
        done = pipeline(session, callback=told.append).finish()
        assert [progress.step for progress in told] == [0, 1, 2]
        for picture in (0, 1):
            np.testing.assert_array_equal(told[-1].latents[picture], done.latents[picture])

    def test_stages_are_timed(self, session: Session):
        run = pipeline(session)
        run.finish()
        stages = {"text", "initial noise", "planning", "probe", "sampling", "decode"}
        assert set(run.watch.seconds) == stages
        assert all(seconds >= 0 for seconds in run.watch.seconds.values())


class TestEdited:
    def test_the_source_is_the_trajectory(self, session: Session, picture: Any):
        done = edited(session, picture, Routes(NoOptions()), wanted=frozenset({1}))
        assert done.trajectory is not None
        np.testing.assert_array_equal(done.latents[0], done.trajectory.latents[-1])
        np.testing.assert_array_equal(
            done.latents[0], session.engine.encode_image(to_model(picture).astype(np.float64))[0]
        )
        assert done.rows == {"inversion": 3, "route": 9}

    def test_reductions_change_nothing(self, session: Session, picture: Any):
        on, off = (
            edited(session, picture, Routes(NoOptions()), reduce=reduce) for reduce in (True, False)
        )
        np.testing.assert_allclose(on.latents[1], off.latents[1], atol=1e-9)
        assert off.rows == {"inversion": 3, "route": 12}

    def test_a_source_that_is_not_pinned_runs_freely(self, session: Session, picture: Any):
        held, free = (edited(session, picture, inverts=kind) for kind in (Inverts, Drifts))
        assert held.trajectory is not None
        assert free.trajectory is not None
        np.testing.assert_array_equal(held.trajectory.latents, free.trajectory.latents)
        assert np.abs(held.latents[0] - free.latents[0]).max() > 0.1
        assert (held.rows, free.rows) == (
            {"inversion": 3, "plain": 6},
            {"inversion": 3, "plain": 3 + 4 + 4},
        )

    def test_what_plugins_are_shown(self, session: Session, picture: Any):
        plugin = Routes(NoOptions())
        white = np.zeros((64, 64), dtype=bool)
        white[:16, :8] = True
        masks = {"": Mask(white), "sky": Mask(~white)}
        edited(session, picture, plugin, masks=masks, seed=9, guidance=3)
        run = plugin.run
        assert (run.steps, run.guidance, run.seed, run.latent) == (3, 3, 9, (8, 8))
        assert (run.source.text, run.targets[0].text) == ("a red cat", "a blue cat")
        assert run.mask is not None
        assert run.mask.sum() == 2
        np.testing.assert_array_equal(run.masks["sky"], 1 - run.mask)
        assert set(run.masks) == {"sky"}
        assert set(masks) == {"", "sky"}
        assert run.image is not None
        assert run.image.shape == (4, 8, 8)
        assert run.encode("a red dog").text == "a red dog"
        for array in (run.mask, run.image, run.masks["sky"]):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0

    def test_an_inversion_is_shown_the_picture_alone(self, session: Session, picture: Any):
        """One that saw targets or masks could not serve the next edit."""
        seen: list[RunView] = []

        class Looks(Inverts):
            @hookimpl
            def scumble_invert(self, run: RunView) -> Trajectory:
                seen.append(run)
                return Trajectory(ddim_trajectory(run), pinned=True)

        masks = {name: Mask(np.ones((64, 64), dtype=bool)) for name in ("", "sky")}
        edited(session, picture, masks=masks, inverts=Looks)
        (run,) = seen
        assert (run.targets, run.mask, run.masks) == ((), None, {})


class Begins(Plugin):
    """Begins part-way, and keeps what it was shown."""

    def __init__(self, start: int) -> None:
        super().__init__(NoOptions())
        self.start = start
        self.seen: list[RunView] = []

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        self.seen.append(run)
        return Plan(start=self.start)

    @hookimpl
    def scumble_after_step(self, run: RunView) -> None:
        self.seen.append(run)


class TestStart:
    def test_steps_before_it_are_neither_inverted_nor_taken(self, session: Session, picture: Any):
        plugin, whole = Begins(2), edited(session, picture)
        done = edited(session, picture, plugin, wanted=frozenset({1}))
        assert done.rows == {"inversion": 1, "plain": 2}
        assert whole.trajectory is not None
        np.testing.assert_array_equal(done.levels[2][1], whole.trajectory.latents[2])
        assert done.levels[:2] == ({}, {})
        assert [run.start for run in plugin.seen] == [0, 2]

    def test_it_is_the_rest_of_a_run_that_was_there(self, session: Session, picture: Any):
        """By hand: the target's steps from the recorded latent on."""
        done = edited(session, picture, Begins(1), wanted=frozenset({1}))
        run = pipeline(session).view()
        assert done.trajectory is not None
        latent = done.trajectory.latents[1]
        for index in (1, 2):
            timestep = int(run.scheduler.timesteps[index])
            plain, text = (session.predict(latent, timestep, t) for t in ("", "a blue cat"))
            latent = run.scheduler.forward(latent, plain + 7.5 * (text - plain), index)
        np.testing.assert_allclose(done.latents[1], latent, atol=1e-12)

    def test_with_no_step_left_nothing_runs(self, session: Session, picture: Any):
        done = edited(session, picture, Begins(3))
        assert done.rows == {}
        assert done.trajectory is not None
        for latent in done.latents.values():
            np.testing.assert_array_equal(latent, done.trajectory.latents[-1])

    def test_maps_are_of_the_steps_taken(self, session: Session, picture: Any):
        done = edited(session, picture, Begins(2), wanted=frozenset({1}))
        found = done.maps["blue"].values
        weights = np.zeros((1, TOKENS))
        run = pipeline(session).view()
        weights[0, list(run.targets[0].tokens_of("blue"))] = 1
        sites = run.sites.select("cross", places=("down", "up"), strides=(run.sites.map_stride,))
        timestep = int(run.scheduler.timesteps[2])
        looked = session.look(done.levels[2][1], timestep, "a blue cat", weights, sites)
        np.testing.assert_allclose(found, looked[0], atol=1e-6)

    def test_a_free_source_begins_there_too(self, session: Session, picture: Any):
        done = edited(session, picture, Begins(2), inverts=Drifts)
        assert done.rows == {"inversion": 1, "plain": 3}
        assert done.trajectory is not None
        np.testing.assert_array_equal(done.levels[2][0], done.trajectory.latents[2])

    def test_an_inversion_may_know_the_levels_before(self, session: Session, picture: Any):
        class Whole(Inverts):
            @hookimpl
            def scumble_invert(self, run: RunView) -> Trajectory:
                return Trajectory(ddim_trajectory(replace(run, start=0)), pinned=True)

        done, whole = (edited(session, picture, Begins(2), inverts=k) for k in (Inverts, Whole))
        np.testing.assert_array_equal(done.latents[1], whole.latents[1])
        assert done.trajectory is not None
        assert whole.trajectory is not None
        assert not np.array_equal(done.trajectory.latents[0], whole.trajectory.latents[0])

    def test_inversions_of_other_starts_are_not_taken_for_it(self, tmp_path: Path, picture: Any):
        session = fake_session(tmp_path)
        session.sources = SourceMemory(session.engine, 1 << 20)
        host = [("direct", {})]
        rows: list[int] = []
        for start in (2, 0, 2):
            made = pipeline(session, Begins(start), wanted=frozenset({1}))
            made.picture, made.inversion = load_picture(picture), Host(host)
            rows.append(made.finish().rows.get("inversion", 0))
        assert rows == [1, 3, 0]

    def test_a_generated_source_has_nothing_to_begin_with(self, session: Session):
        with pytest.raises(OptionError, match="starts at step 1 needs a picture"):
            pipeline(session, Begins(1)).finish()
        assert session.rows.total() == 0


class Paints(Plugin):
    """Makes masks, of one row."""

    def __init__(self, *names: str) -> None:
        super().__init__(NoOptions())
        self.names = names

    @hookimpl
    def scumble_mask(self, run: RunView) -> Mapping[str, Floats] | None:
        assert run.image is not None
        run.predict(run.image, 500, "a red cat")
        left = np.zeros(run.latent)
        left[:, :3] = 1
        return dict.fromkeys(self.names, left) or None


class Wears(Routes):
    """Takes any mask."""

    def takes_mask(self, name: str) -> bool:
        return True


class Both(Wears, Paints):
    """Makes its own mask."""


class TestMasking:
    def test_masks_are_made_before_the_plan(self, session: Session, picture: Any):
        plugin = Wears(NoOptions())
        masking = Host.of(paints=Paints("", "sky"))
        done = edited(session, picture, plugin, masking=masking, wanted=frozenset({1}))
        assert plugin.run.mask is not None
        assert plugin.run.mask.sum() == 24
        assert set(plugin.run.masks) == {"sky"}
        assert done.rows == {"masking": 1, "inversion": 3, "route": 9}
        assert set(done.masks) == {"", "sky"}
        np.testing.assert_array_equal(done.masks[""], plugin.run.mask)

    def test_a_method_makes_its_own_where_none_is_given(self, session: Session, picture: Any):
        own = Both("")
        done = edited(session, picture, own)
        assert (done.rows["masking"], own.run.mask is None) == (1, False)
        given = Both("")
        masks = {"": Mask(np.ones((64, 64), dtype=bool))}
        done = edited(session, picture, given, masks=masks)
        assert "masking" not in done.rows
        assert given.run.mask is not None
        assert given.run.mask.all()
        assert done.masks[""].all()
        # Another masking comes before its own.
        another = Both("")
        edited(session, picture, another, masking=Host.of(paints=Paints("sky")))
        assert (another.run.mask, set(another.run.masks)) == (None, {"sky"})

    def test_a_mask_that_is_given_and_one_that_is_made(self, session: Session, picture: Any):
        masks = {"": Mask(np.ones((64, 64), dtype=bool))}
        with pytest.raises(OptionError, match="a mask is given, and masking would make another"):
            edited(session, picture, masks=masks, masking=Host.of(paints=Paints("")))

    def test_a_masking_that_gives_none(self, session: Session, picture: Any):
        with pytest.raises(OptionError, match="paints gave no mask"):
            edited(session, picture, Wears(NoOptions()), masking=Host.of(paints=Paints()))

    def test_an_inversion_does_not_see_what_was_made(self, session: Session, picture: Any):
        seen: list[RunView] = []

        class Looks(Inverts):
            @hookimpl
            def scumble_invert(self, run: RunView) -> Trajectory:
                seen.append(run)
                return Trajectory(ddim_trajectory(run), pinned=True)

        masking = Host.of(paints=Paints("", "sky"))
        edited(session, picture, Wears(NoOptions()), masking=masking, inverts=Looks)
        assert (seen[0].mask, seen[0].masks) == (None, {})


class Starts(Plugin):
    """Starts pictures from other latents, and keeps what it was given."""

    def __init__(self, *pictures: int, equal: bool = False) -> None:
        super().__init__(NoOptions())
        self.pictures, self.equal = pictures, equal
        self.given: Mapping[int, Floats] = {}
        self.first: Mapping[int, Floats] = {}

    @hookimpl
    def scumble_initial_noise(self, noise: Mapping[int, Floats]) -> Mapping[int, Floats]:
        self.given = noise
        sizes = (0 if self.equal else picture for picture in self.pictures)
        return {p: noise[p] + (1 + size) for p, size in zip(self.pictures, sizes, strict=True)}

    @hookimpl
    def scumble_before_step(self, step: BeforeView) -> None:
        if not step.index:
            self.first = step.latents


class TestInitialNoise:
    def test_a_run_starts_from_it(self, session: Session):
        plugin = Starts(1)
        done = pipeline(session, plugin, seed=4).finish()
        noise = np.random.default_rng(4).standard_normal((4, 8, 8))
        for picture in (0, 1):
            np.testing.assert_array_equal(plugin.given[picture], noise)
        np.testing.assert_array_equal(plugin.first[0], noise)
        np.testing.assert_array_equal(plugin.first[1], noise + 2)
        plain = pipeline(session, seed=4).finish()
        np.testing.assert_array_equal(done.latents[0], plain.latents[0])
        assert np.abs(done.latents[1] - plain.latents[1]).max() > 0.1

    @pytest.mark.parametrize(
        ("plugin", "rows"), [(Starts(), 11), (Starts(0, 1, equal=True), 11), (Starts(1), 12)]
    )
    def test_pictures_that_start_apart_share_no_row(
        self, session: Session, plugin: Starts, rows: int
    ):
        """Three rows at step 0 where both start from one latent, four where they do not."""
        on, off = (pipeline(session, plugin, reduce=reduce).finish() for reduce in (True, False))
        assert on.rows == {"plain": rows}
        for picture in (0, 1):
            np.testing.assert_allclose(on.latents[picture], off.latents[picture], atol=1e-9)

    def test_a_recorded_source_keeps_its_own(self, session: Session, picture: Any):
        plugin = Starts(0, 1)
        done = edited(session, picture, plugin)
        assert done.trajectory is not None
        levels = done.trajectory.latents
        np.testing.assert_array_equal(plugin.given[1], levels[0])
        np.testing.assert_array_equal(plugin.first[0], levels[0])
        np.testing.assert_array_equal(plugin.first[1], levels[0] + 2)
        np.testing.assert_array_equal(done.latents[0], levels[-1])

    def test_one_that_runs_freely_does_not(self, session: Session, picture: Any):
        plugin = Starts(0)
        done = edited(session, picture, plugin, inverts=Drifts)
        assert done.trajectory is not None
        np.testing.assert_array_equal(plugin.first[0], done.trajectory.latents[0] + 1)


class Guides(Plugin):
    """Moves the target towards the number one."""

    @hookimpl
    def scumble_plan(self, run: RunView) -> Plan:
        on, everywhere = np.ones(run.steps, dtype=bool), np.ones(run.latent)
        term = Term("token", np.eye(TOKENS)[2], everywhere, 1.0)
        rate = np.full(run.steps, 0.5)
        return Plan((Guide(Branch(1), (term,), (0,), on, 1, rate, everywhere),))


class TestGradients:
    def test_they_move_the_target(self, guided: Session, picture: Any):
        done = edited(guided, picture, Guides(NoOptions()))
        assert done.rows == {"inversion": 3, "record": 3, "gradient": 3, "plain": 6}
        plain = edited(guided, picture)
        assert np.abs(done.latents[1] - plain.latents[1]).max() > 0.1

    def test_reductions_change_nothing(self, guided: Session, picture: Any):
        on, off = (
            edited(guided, picture, Guides(NoOptions()), reduce=reduce) for reduce in (True, False)
        )
        np.testing.assert_allclose(on.latents[1], off.latents[1], atol=1e-9)

    def test_maps_are_of_the_latents_that_were_moved(self, guided: Session, picture: Any):
        done = edited(guided, picture, Guides(NoOptions()))
        plain = edited(guided, picture)
        before = dict(guided.rows)
        assert np.abs(done.maps["cat"].values - plain.maps["cat"].values).max() > 1e-4
        assert guided.rows["gradient"] == before.get("gradient", 0), "a map asked for a gradient"

    def test_an_engine_without_them_is_refused_before_the_first_step(self, session: Session):
        message = "mine needs gradients, which engine 'fake' does not have .* gradient_engine"
        with pytest.raises(UnsupportedError, match=message):
            pipeline(session, Guides(NoOptions())).finish()
        assert not session.rows

    def test_they_are_probed_once_a_session(self, guided: Session, picture: Any):
        engine: Any = guided.engine
        counts: list[int] = []
        for _ in range(2):
            engine.asked.clear()
            assert edited(guided, picture, Guides(NoOptions())).rows["gradient"] == 3
            counts.append(len(engine.asked))
        assert counts == [3 + 2, 3]
        assert guided.probed == {"loss"}

    def test_the_engine_that_has_them_is_probed(
        self, session: Session, guided: Session, picture: Any
    ):
        session.take_gradients_from(guided)
        edited(session, picture, Guides(NoOptions()))
        assert (session.probed, guided.probed) == (set(), {"loss"})

    def test_another_engine_has_them(self, session: Session, guided: Session, picture: Any):
        alone = edited(guided, picture, Guides(NoOptions()))
        session.take_gradients_from(guided)
        done = edited(session, picture, Guides(NoOptions()))
        assert done.rows == alone.rows
        np.testing.assert_array_equal(done.latents[1], alone.latents[1])


class TestNotes:
    def test_a_prompt_that_is_too_long_is_cut_and_said(self, session: Session):
        long = "a red cat on the big old table in the small white room with a lamp and sofa"
        run = pipeline(session, prompts=(long, "a blue cat"))
        run.finish()
        (note,) = run.notes
        assert "20 tokens and the model reads 16" in note

    def test_the_negative_prompt_too(self, session: Session):
        run = pipeline(session, negative="a cat " * 20)
        run.finish()
        assert len(run.notes) == 1

    def test_otherwise_there_is_none(self, session: Session):
        run = pipeline(session)
        run.finish()
        assert run.notes == []


class TestRefused:
    def test_nan_in_the_noise(self, tmp_path: Path):
        class Broken(FakeEngine):
            def _step(self, ports: Mapping[str, object]) -> StepOutput:
                output = super()._step(ports)
                return replace(output, noise=np.full_like(output.noise, np.nan))

        with pytest.raises(NumericalError, match=r"the noise holds .* at step 0"):
            pipeline(fake_session(tmp_path, Broken)).finish()

    def test_nan_in_the_pixels(self, tmp_path: Path):
        class Broken(FakeEngine):
            def decode(self, latents: Floats) -> Floats:
                return super().decode(latents) * np.nan

        with pytest.raises(NumericalError, match="the decoded picture holds"):
            pipeline(fake_session(tmp_path, Broken)).finish()

    def test_nan_in_the_encoded_picture(self, tmp_path: Path, picture: Any):
        class Broken(FakeEngine):
            def encode_image(self, pixels: Floats) -> Floats:
                return super().encode_image(pixels) * np.nan

        with pytest.raises(NumericalError, match="the latent of the picture holds"):
            edited(fake_session(tmp_path, Broken), picture)

    def test_an_engine_that_lacks_a_group_before_the_first_step(self, tmp_path: Path):
        class Meagre(FakeEngine):
            name = "meagre"
            groups = frozenset({"mix"})

        session = fake_session(tmp_path, Meagre)
        message = (
            "mine needs route in one step, which engine 'meagre' does not have for this model; "
            "engines that could: .*torch"
        )
        with pytest.raises(UnsupportedError, match=message):
            pipeline(session, Routes(NoOptions())).finish()
        assert not session.rows

    def test_an_engine_that_ignores_a_group_before_the_first_step(self, tmp_path: Path):
        class Deaf(FakeEngine):
            def _step(self, ports: Mapping[str, object]) -> StepOutput:
                heard = {name: value for name, value in ports.items() if name != "route"}
                return replace(super()._step(heard), bound=frozenset({"route"}))

        told: list[Progress] = []
        run = pipeline(fake_session(tmp_path, Deaf), Routes(NoOptions()), callback=told.append)
        with pytest.raises(ControlError, match="route ports of engine 'fake' have no effect"):
            run.finish()
        assert told == []

    def test_a_probe_is_made_once_a_session(self, tmp_path: Path):
        class Counting(FakeEngine):
            calls = 0

            def _step(self, ports: Mapping[str, object]) -> StepOutput:
                type(self).calls += 1
                return super()._step(ports)

        session = fake_session(tmp_path, Counting)
        counts: list[int] = []
        for _ in range(2):
            Counting.calls = 0
            pipeline(session, Routes(NoOptions())).finish()
            counts.append(Counting.calls)
        assert counts == [5, 3]


class Tells(Inverts):
    """Gives the unconditional rows a text, and halves what guidance adds."""

    text: Any = "a red cat"

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        return Trajectory(ddim_trajectory(run), pinned=self.pinned, embeddings=self.text)

    @hookimpl
    def scumble_guidance(self, noise: GuidedNoise) -> Floats:
        return (noise.unconditional + noise.guided) / 2


class TestWhatInvertsInTheRun:
    def test_its_hooks_are_asked(self, session: Session, picture: Any):
        halved = edited(session, picture, inverts=Tells, guidance=7)

        class Silent(Tells):
            scumble_guidance: Any = None

        as_guided = edited(session, picture, inverts=Silent, guidance=3.5)
        np.testing.assert_allclose(halved.latents[1], as_guided.latents[1], atol=1e-12)

    def test_rows_that_see_the_source_prompt_are_one(self, session: Session, picture: Any):
        """The source's two rows agree, so a source that runs freely costs one row a step."""

        class Free(Tells):
            pinned = False

        done = edited(session, picture, inverts=Free)
        assert done.rows == {"inversion": 3, "plain": 2 + 3 + 3}

    def test_what_was_embedded_is_seen(self, session: Session, picture: Any):
        class Embeds(Tells):
            text = np.tile(session.embed("a red cat").states, (3, 1, 1))

        told, embedded = (edited(session, picture, inverts=kind) for kind in (Tells, Embeds))
        np.testing.assert_allclose(told.latents[1], embedded.latents[1], atol=1e-12)
        assert embedded.maps["cat"].values.shape == (8, 8)

    def test_a_text_that_no_row_sees_is_refused(self, session: Session, picture: Any):
        with pytest.raises(OptionError, match="guidance 1 has none"):
            edited(session, picture, inverts=Tells, guidance=1)

    def test_it_is_known_to_the_hooks_of_the_run(self, session: Session, picture: Any):
        class Looks(Routes):
            seen: Any = None

            @hookimpl
            def scumble_initial_noise(self, run: RunView, noise: Any) -> None:
                type(self).seen = run.trajectory

        done = edited(session, picture, Looks(NoOptions()))
        assert Looks.seen is done.trajectory

    def test_its_gradients_are_counted_and_probes_are_not(self, matching: Session, picture: Any):
        class Matches(Inverts):
            @hookimpl
            def scumble_invert(self, run: RunView) -> Trajectory:
                assert run.image is not None
                text = run.embed(run.unconditional)
                loss, slope = run.match(run.image, 500, text, run.image, 1.0)
                assert slope.shape == text.shape
                assert loss > 0
                return super().scumble_invert(run)

        done = edited(matching, picture, Routes(NoOptions()), inverts=Matches)
        assert done.rows == {"inversion": 3, "gradient": 1, "route": 9}
