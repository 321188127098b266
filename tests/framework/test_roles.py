"""Which plugin does what in an edit."""

from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.errors import OptionError
from scumble.hookspecs import RunView, Trajectory, hookimpl
from scumble.options import check_options
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.requests import EditRequest
from scumble.roles import cast_roles


class Brings(Plugin):
    """Brings its own way to noise."""

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        return Trajectory(np.zeros((run.steps + 1, 4, 8, 8)), pinned=True)


class Edits(Plugin):
    @hookimpl
    def scumble_plan(self) -> Plan:
        return Plan()


class Masks(Plugin):
    @hookimpl
    def scumble_mask(self, run: RunView) -> dict[str, Floats]:
        return {"": np.ones(run.latent)}


def asked(**given: Any) -> EditRequest:
    return check_options(EditRequest, {"source": "a", "targets": ["b"], **given}, "edit")


def test_by_name_with_an_inversion_and_a_masking():
    request = asked(
        method="masactrl", options={"start_step": 3}, inversion="ddim", masking="diffedit",
        masking_options={"maps": 3},
    )  # fmt: skip
    roles = cast_roles(request, "masactrl", True)
    assert set(roles.method.origins) == {"masactrl"}
    assert roles.inversion is not None
    assert set(roles.inversion.origins) == {"ddim"}
    assert roles.masking is not None
    assert "'maps', 3" in str(roles.masking.identity)
    assert set(roles.origins) == {"masactrl", "ddim", "diffedit"}


def test_a_generated_source_is_not_inverted():
    assert cast_roles(asked(), "prompt_to_prompt", False).inversion is None


def test_a_plugin_object_has_its_options():
    plugin = Edits(NoOptions())
    assert set(cast_roles(asked(method="Edits"), plugin, True).origins) == {"Edits", "direct"}
    with pytest.raises(OptionError, match="given to a plugin object when it is made"):
        cast_roles(asked(method="Edits", options={"a": 1}), plugin, True)


def test_a_method_that_brings_its_own_noise_takes_no_inversion():
    plugin = Brings(NoOptions())
    roles = cast_roles(asked(method="Brings"), plugin, True)
    assert roles.inversion is roles.method
    assert cast_roles(asked(method="Brings"), plugin, False).inversion is None
    # As a recipe has it.
    assert cast_roles(asked(method="Brings", inversion="Brings"), plugin, True).inversion
    for given in ({"inversion": "ddim"}, {"inversion_options": {"convention": "current"}}):
        with pytest.raises(OptionError, match="Brings leads the picture to noise by itself"):
            cast_roles(asked(method="Brings", **given), plugin, True)


def test_an_earlier_run_stands_in_for_an_inversion():
    made: list[Plugin] = []

    def carried() -> Plugin:
        made.append(Brings(NoOptions()))
        return made[-1]

    inversion = cast_roles(asked(method="Edits"), Edits(NoOptions()), True, carried).inversion
    assert inversion is not None
    assert set(inversion.origins) == {"carried"}
    assert len(made) == 1
    # One that brings its own noise asks for none: what stands in might be refused.
    cast_roles(asked(method="Brings"), Brings(NoOptions()), True, carried)
    assert len(made) == 1


def test_a_masking_makes_masks():
    with pytest.raises(OptionError, match="'masactrl' makes no masks"):
        cast_roles(asked(masking="masactrl"), Edits(NoOptions()), True)
    with pytest.raises(OptionError, match="masking_options are given and no masking"):
        cast_roles(asked(masking_options={"maps": 3}), Edits(NoOptions()), True)
    assert cast_roles(asked(), Masks(NoOptions()), True).masking is None
