"""A control that does nothing is found out: before the run by a probe, and at every step."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.engine import Gradient, StepOutput
from scumble.errors import ControlError, NumericalError
from scumble.ports import CONTROL_GROUPS, Group, PortSizes, check_inputs, groups_of, neutral
from scumble.sensitivity import perturbed, require_effect
from scumble.session import Session
from scumble.sites import Site, SiteTable
from scumble.testing import FakeEngine, fake_session


def ignoring(group: Group) -> type[FakeEngine]:
    """An engine that takes a group's ports, says it used them, and did not."""

    class Ignoring(FakeEngine):
        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            given: dict[str, Any] = dict(ports)
            rows = given["sample"].shape[0]
            if "record.row" in given and group == "record":
                given["record.row"] = np.zeros(1, np.int64)
            if group == "replay":
                given = {name: x for name, x in given.items() if not name.startswith("source.")}
                if "route" in given:
                    given["route"] = np.minimum(given["route"], rows - 1)
            elif group != "record" and group in groups_of(given):
                given |= neutral(group, self.info.sizes(given["sample"].shape[2:]), rows)
            output = super()._step(given)
            reads = output.reads
            if group == "read" and "read.weights" in given:
                shape = (*given["read.weights"].shape[:2], 8, 8)
                reads = {1: np.full(shape, 1 / 16)}
            return replace(output, reads=reads, bound=frozenset(CONTROL_GROUPS))

    return Ignoring


def silent(group: Group) -> type[FakeEngine]:
    """An engine that does not say that it used a group."""

    class Silent(FakeEngine):
        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            output = super()._step(ports)
            return replace(output, bound=output.bound - {group})

    return Silent


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_the_fake_engine_passes(session: Session, group: Group):
    require_effect(session, group)


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_a_group_that_is_ignored_is_caught(tmp_path: Path, group: Group):
    session = fake_session(tmp_path, ignoring(group))
    with pytest.raises(ControlError, match=rf"the {group} ports of engine 'fake' have no effect"):
        require_effect(session, group)


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_only_that_group_is_blamed(tmp_path: Path, group: Group):
    session = fake_session(tmp_path, ignoring(group))
    pair = {"record", "replay"}  # each is probed through the other
    for other in set(CONTROL_GROUPS) - {group} - (pair if group in pair else set()):
        if not (group == "route" and other in pair):  # a source row is replayed by routing to it
            require_effect(session, other)


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_a_group_that_was_not_bound_is_caught(tmp_path: Path, group: Group):
    session = fake_session(tmp_path, silent(group))
    with pytest.raises(ControlError, match=f"was given .*{group}.* had no effect"):
        require_effect(session, group)


class TestGradients:
    def test_one_that_follows_its_words_passes(self, guided: Session):
        require_effect(guided, "loss")

    @pytest.mark.parametrize("slope", [0.0, 1.0])
    def test_one_that_does_not_is_caught(
        self, tmp_path: Path, quadratic: type[FakeEngine], slope: float
    ):
        class Ignoring(quadratic):
            def _gradient(self, ports: Mapping[str, object]) -> Gradient:
                found = super()._gradient(ports)
                return replace(found, latents=np.full_like(found.latents, slope))

        session = fake_session(tmp_path, Ignoring)
        with pytest.raises(ControlError, match="the loss ports of engine 'quadratic' have no ef"):
            require_effect(session, "loss")

    def test_nan_is_no_silence(self, tmp_path: Path, quadratic: type[FakeEngine]):
        class Spoiled(quadratic):
            def _gradient(self, ports: Mapping[str, object]) -> Gradient:
                found = super()._gradient(ports)
                return replace(found, latents=found.latents * np.nan)

        with pytest.raises(NumericalError, match="the gradient at the probe holds"):
            require_effect(fake_session(tmp_path, Spoiled), "loss")


@pytest.mark.parametrize("group", ["route", "replay"])
def test_nan_is_no_silence(tmp_path: Path, group: Group):
    class Spoiled(FakeEngine):
        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            output = super()._step(ports)
            return replace(output, noise=np.full_like(output.noise, np.nan))

    with pytest.raises(
        NumericalError, match=f"the noise holds .* at the probe of the {group} ports"
    ):
        require_effect(fake_session(tmp_path, Spoiled), group)


def test_an_engine_that_records_nothing_is_caught(tmp_path: Path):
    class Forgetful(FakeEngine):
        def _step(self, ports: Mapping[str, object]) -> StepOutput:
            return replace(super()._step(ports), recorded={})

    with pytest.raises(ControlError, match="the record ports"):
        require_effect(fake_session(tmp_path, Forgetful), "record")


@pytest.mark.parametrize("group", [g for g in CONTROL_GROUPS if g not in ("record", "replay")])
def test_what_is_fed_fits_the_declaration_and_is_not_neutral(session: Session, group: Group):
    sizes = session.info.sizes((8, 8))
    ports = perturbed(group, sizes)
    base = {
        "sample": np.zeros((2, 4, 8, 8)),
        "timestep": np.zeros(2, np.int64),
        "text": np.zeros((2, 16, 8)),
    }
    assert check_inputs({**base, **ports}, sizes) == 2
    usual = neutral(group, sizes, 2)
    assert any(not np.array_equal(ports[name], usual[name]) for name in ports)


@pytest.mark.parametrize("group", ["plain", "replay", "record"])
def test_what_cannot_be_perturbed(session: Session, group: Group):
    with pytest.raises(Exception, match=group):
        perturbed(group, session.info.sizes((8, 8)))


def test_maps_are_probed_where_words_separate_best():
    # As in Stable Diffusion 1: the first site is finer than the maps that packs give out.
    sites = SiteTable(
        tuple(
            Site(index, f"down.{index}", "cross", "down", stride, 8, 2)
            for index, stride in enumerate((1, 2, 4))
        ),
        (64, 64),
    )
    assert sites.map_stride == 4
    ports = perturbed("read", PortSizes((4, 64, 64), 77, 16, sites))
    assert ports["read.sites"].tolist() == [0, 0, 1]


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_regions_are_probed_at_every_stride(session: Session, stride: int):
    """A model may attend at coarse strides alone, as SDXL does."""
    ports = perturbed("region", session.info.sizes((8, 8)))
    query, key = (ports[f"region.{side}"][1, ::stride, ::stride] for side in ("query", "key"))
    assert {*query.flat} == {*key.flat} == {0, 1}


def test_a_gradient_by_the_text_that_follows_what_is_wanted_passes(matching: Session):
    require_effect(matching, "match")
