"""What the planner takes and makes."""

from typing import Any

import numpy as np
import pytest

from scumble.controls import Branch
from scumble.errors import OptionError
from scumble.ports import Group
from scumble.schedule import Job, Row, Schedule, Step


def job(**changed: np.ndarray) -> Job:
    flags: dict[str, Any] = {
        "identity": np.zeros(3, dtype=bool),
        "replayed": np.zeros(3, dtype=bool),
    } | changed
    return Job(3, ("a cat", "a dog"), "ugly", frozenset({1}), True, False, True, **flags)


@pytest.mark.parametrize("name", ["identity", "replayed"])
def test_flags_cover_every_step(name: str):
    with pytest.raises(OptionError, match=f"3 steps needs {name}"):
        job(**{name: np.zeros(2, dtype=bool)})


def test_what_a_branch_reads():
    assert job().text(Branch(1)) == "a dog"
    assert job().text(Branch(0)) == "a cat"
    assert job().text(Branch(1, False)) == "ugly"
    assert job().text(Branch(0, "a sofa")) == "a sofa"
    assert job().text(Branch(0, "")) == ""


def test_rows_are_counted_by_variant():
    row = Row(0, "", True)

    def step(index: int, rows: int, *groups: Group) -> Step:
        return Step(index, (row,) * rows, groups=frozenset(groups))

    schedule = Schedule((step(0, 3, "route", "mix"), step(1, 2), step(2, 0), step(3, 1)))
    assert schedule.row_count == 6
    assert schedule.rows_by_variant == {"mix+route": 3, "plain": 3}
    assert schedule.groups == {"route", "mix"}
