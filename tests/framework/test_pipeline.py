"""A whole run, from request to pixels."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.engine import StepOutput
from scumble.errors import ControlError, NumericalError, OptionError, UnsupportedError
from scumble.hookspecs import RunView, Trajectory, hookimpl
from scumble.host import Host
from scumble.images import load_picture, to_model
from scumble.inversion import ddim_trajectory
from scumble.masks import Mask
from scumble.options import check_options
from scumble.pipeline import Finished, Pipeline
from scumble.plans import Branch, Plan, Route
from scumble.plugins import NoOptions, Plugin
from scumble.requests import SamplingRequest
from scumble.sampler import Progress
from scumble.session import Session
from scumble.testing import FakeEngine, fake_session


class Inverts(Plugin):
    pinned = True

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
        assert set(run.watch.seconds) == {"text", "planning", "probe", "sampling", "decode"}
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
        edited(session, picture, plugin, mask=Mask(white), seed=9, guidance=3)
        run = plugin.run
        assert (run.steps, run.guidance, run.seed, run.latent) == (3, 3, 9, (8, 8))
        assert (run.source.text, run.targets[0].text) == ("a red cat", "a blue cat")
        assert run.mask is not None
        assert run.mask.sum() == 2
        assert run.image is not None
        assert run.image.shape == (4, 8, 8)
        for array in (run.mask, run.image):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


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
