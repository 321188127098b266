"""Plug-and-Play on the fake engine: its routes, sites and steps, what it refuses and costs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import Branch, FeatureRoute, OptionError, Plan, Route, Site, SiteTable
from scumble.host import Host
from scumble.options import check_options
from scumble.requests import SamplingRequest
from scumble.sites import Kind, Place
from scumble.testing import (
    assert_deterministic,
    assert_neutral_is_identity,
    assert_reductions_exact,
    fake_session,
    run_plugin,
)
from scumble.viewing import view_run
from scumble_plugins.ddim_inversion import DDIMInversion
from scumble_plugins.plug_and_play import PlugAndPlay, PlugAndPlayOptions

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
EDIT: dict[str, Any] = {"image": PICTURE, "steps": 5}


def plugin(**options: Any) -> PlugAndPlay:
    return PlugAndPlay(check_options(PlugAndPlayOptions, options, "plug_and_play"))


def table(attention: dict[Place, int], resnets: dict[Place, int]) -> SiteTable:
    """Sites of so many blocks and resnets at each place."""
    sites: list[Site] = []
    kinds: dict[Kind, dict[Place, int]] = {
        "self": attention, "cross": attention, "resnet": resnets
    }  # fmt: skip
    for kind, counts in kinds.items():
        places: list[Place] = [p for p, count in counts.items() for _ in range(count)]
        sites += [Site(i, f"{p}.{i}.{kind}", kind, p, 1, 8, 1) for i, p in enumerate(places)]
    return SiteTable(tuple(sites), (64, 64))


SD1 = table({"down": 6, "mid": 1, "up": 9}, {"down": 8, "mid": 2, "up": 12})
SDXL = table({"down": 24, "mid": 10, "up": 36}, {"down": 6, "mid": 2, "up": 9})


def plan(tmp_path: Path, options: dict[str, Any], sites: SiteTable, steps: int = 50) -> Plan:
    session = fake_session(tmp_path)
    request = SamplingRequest(steps=steps)
    run, _ = view_run(session, request, ("a cat", "a dog"), None, {})
    return plugin(**options).scumble_plan(replace(run, sites=sites))


@pytest.mark.parametrize(
    ("sites", "resnet", "layers"), [(SD1, 14, range(8, 16)), (SDXL, 11, range(35, 70))]
)
def test_the_published_defaults(tmp_path: Path, sites: SiteTable, resnet: int, layers: range):
    """40 of 50 steps at output block 4, 25 of 50 in the decoder from its second attention on."""
    found = plan(tmp_path, {}, sites).controls
    assert [type(control) for control in found] == [FeatureRoute, Route] * 2
    source = Branch(0, "")
    for control, text in zip(found, (True, True, False, False), strict=True):
        if isinstance(control, FeatureRoute):
            assert (control.branch, control.source) == (Branch(1, text), source)
            assert control.sites == (resnet,)
            assert np.flatnonzero(control.steps).tolist() == list(range(40))
        else:
            assert isinstance(control, Route)
            assert control.branch == Branch(1, text)
            assert (control.query, control.key, control.value) == (source, source, None)
            assert control.sites == tuple(layers)
            assert np.flatnonzero(control.steps).tolist() == list(range(25))


def test_sites_may_be_named(tmp_path: Path):
    found = plan(tmp_path, {"resnets": (5, 3, 5), "layers": (2, 1)}, SD1).controls
    assert [c.sites for c in found if isinstance(c, FeatureRoute | Route)] == [(3, 5), (1, 2)] * 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"features": 1.1}, "features"),
        ({"attention": -1}, "attention"),
        ({"layers": [-1]}, "layers"),
        ({"share": 0.5}, "share"),
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, Any], named: str):
    with pytest.raises(OptionError, match=named):
        Host([("plug_and_play", options)])


NO_DECODER = table({"down": 4, "mid": 1, "up": 2}, {"down": 4, "mid": 2, "up": 0})


@pytest.mark.parametrize(
    ("options", "sites", "message"),
    [
        ({"resnets": (22,)}, SD1, "resnets names 22, and this model has 0 to 21"),
        ({"layers": (3, 16)}, SD1, "layers names 16, and this model has 0 to 15"),
        ({}, NO_DECODER, "no resnet in its decoder"),
        ({"features": 0.01}, SD1, r"features 0\.01 of 50 steps is no step"),
        ({"attention": 0.01}, SD1, r"attention 0\.01 of 50 steps is no step"),
    ],
)
def test_what_would_do_nothing_is_refused(
    tmp_path: Path, options: dict[str, Any], sites: SiteTable, message: str
):
    with pytest.raises(OptionError, match=message):
        plan(tmp_path, options, sites)


def test_no_target_and_masks_are_refused():
    with pytest.raises(OptionError, match="needs a target prompt"):
        run_plugin(plugin(), targets=(), **EDIT)
    with pytest.raises(OptionError, match="no mask without a name"):
        run_plugin(plugin(), mask=np.ones((64, 64), bool), **EDIT)


def test_with_no_step_it_is_the_plain_run(tmp_path: Path):
    assert plan(tmp_path, {"features": 0, "attention": 0}, SD1) == Plan()
    assert_neutral_is_identity(plugin(features=0, attention=0), **EDIT)


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "picture": ({}, {}),
    "features": ({"attention": 0}, {}),
    "attention": ({"features": 0, "attention": 1, "layers": [0, 2]}, {}),
    "no-words": ({}, {"source": ""}),
    "generated": ({}, {"image": None}),
    "free": ({}, {"inversion": DDIMInversion()}),
    "several": ({}, {"targets": ("a blue cat", "a dog")}),
    "unguided": ({}, {"guidance": 1.0}),
}


@pytest.mark.parametrize("name", FORMS)
def test_the_planners_reductions_change_nothing(name: str):
    options, changed = FORMS[name]
    assert_reductions_exact(plugin(**options), **{**EDIT, **changed})


@pytest.mark.parametrize("name", FORMS)
def test_every_form_changes_the_target_and_never_the_source(name: str):
    options, changed = FORMS[name]
    edited, plain = (run_plugin(one, **{**EDIT, **changed}) for one in (plugin(**options), None))
    for picture, latent in plain.latents.items():
        moved = float(np.abs(edited.latents[picture] - latent).max())
        assert (moved < 1e-12) if picture == 0 else (moved > 1e-4), (picture, moved)


def test_both_of_a_targets_rows_take_what_the_source_gives():
    """With every feature and map of a source whose latents it has, a target is that source."""
    everything = plugin(features=1, attention=1, resnets=[0, 1], layers=[0, 1, 2])
    same = {**EDIT, "guidance": 1.0, "source": "", "targets": ("a",)}
    near, far = (run_plugin(one, **same).latents[1] for one in (everything, None))
    source = run_plugin(None, **{**same, "targets": ("",)}).latents[1]
    assert np.abs(near - source).max() < np.abs(far - source).max()


@pytest.mark.parametrize("changed", [{}, {"source": ""}])
def test_three_rows_a_step_while_it_takes_and_two_then(changed: dict[str, Any]):
    rows = run_plugin(plugin(), **{**EDIT, **changed}).rows
    assert rows == {"inversion": 5, "feature+route": 6, "feature": 6, "plain": 2}


def test_runs_repeat():
    assert_deterministic(plugin(), **EDIT)
