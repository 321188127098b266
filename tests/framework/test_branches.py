"""Rows that a plan speaks of, and the controls that only ask for one."""

import numpy as np
import pytest

from scumble.branches import Also, Branch, Watch


def test_rows_are_ordered_by_picture_and_the_unconditional_one_is_first():
    rows = [Branch(1), Branch(0), Branch(1, "a dog"), Branch(1, False), Branch(0, False)]
    rows += [Branch(0, ""), Branch(1, "a cat")]
    assert sorted(rows, key=lambda row: row.order) == [
        Branch(0, False), Branch(0), Branch(0, ""),
        Branch(1, False), Branch(1), Branch(1, "a cat"), Branch(1, "a dog"),
    ]  # fmt: skip


def test_a_row_of_its_own_text_is_another_than_those_of_the_run():
    assert len({Branch(0), Branch(0, False), Branch(0, ""), Branch(0, "True")}) == 4


@pytest.mark.parametrize("kind", ["watch", "also"])
def test_steps_are_copied_and_read_only(kind: str):
    on = np.ones(3)
    control = Watch(0, on > 0) if kind == "watch" else Also("n", Branch(1, "a dog"), on > 0)
    assert control.steps.dtype == bool
    assert not control.steps.flags.writeable
    assert not np.shares_memory(control.steps, on)
