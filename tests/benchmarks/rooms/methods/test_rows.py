"""The rows can be asked for as they stand, and nothing of them is left unsaid."""

import numpy as np
import pytest

from scumble.host import Host
from scumble_bench.rooms.methods.cases import KINDS, Case
from scumble_bench.rooms.methods.rows import ROWS, Row, cases_of, filled

CASE = Case(
    seed=1,
    image=np.zeros((128, 128, 3), np.uint8),
    source="a red sofa",
    target="a blue sofa",
    noun="sofa",
    word="blue",
    colour="blue",
    pose=None,
    pose_before=None,
    mask=np.ones((128, 128), bool),
    changed=np.ones((128, 128), bool),
    box=(8, 16, 64, 72),
)


def test_placeholders_give_way_to_what_a_case_has():
    template = {"layout": {"{noun}": "{box}"}, "words": ["{word}", "x"], "share": 0.5, "on": True}
    assert filled(template, CASE) == {
        "layout": {"sofa": (8, 16, 64, 72)},
        "words": ["blue", "x"],
        "share": 0.5,
        "on": True,
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.task}: {row.name}")
def test_a_row_can_be_asked_for(row: Row):
    assert cases_of(row.task) in KINDS
    if row.method is None:
        assert not row.options
        assert row.task in ("layout", "repaint")
        return
    Host([(row.method, filled(row.options, CASE))])
    Host([(row.inversion, {})])
    left = str(filled(row.options, CASE))
    assert not [name for name in ("{noun}", "{word}", "{box}") if name in left]


def test_no_two_rows_have_one_name():
    names = [(row.task, row.name) for row in ROWS]
    assert len(set(names)) == len(names)


def test_json_holds_all_of_a_row():
    (row,) = (row for row in ROWS if row.name == "MAG-Edit")
    assert row.as_json() == {
        "name": "MAG-Edit",
        "task": "crowded",
        "method": "mag_edit",
        "options": {"words": ["{word}"]},
        "inversion": "direct",
        "masked": True,
        "gradients": True,
    }


def test_further_fields_are_told_only_where_there_are_some():
    plain, more = Row("a", "colour", "sdedit"), Row("a", "colour", "sdedit", asked={"source": ""})
    assert "asked" not in plain.as_json()
    assert more.as_json() == {**plain.as_json(), "asked": {"source": ""}}
    for row in (plain, more):
        assert Row(**row.as_json()) == row


def test_files_of_different_rows_have_different_names():
    slugs = [row.slug for row in ROWS]
    assert len(set(slugs)) == len({(row.task, row.name) for row in ROWS})
    assert Row("a/b c!", "colour", None).slug.startswith("a-b-c-")
    assert Row("a", "colour", "x", {"n": 1}).slug != Row("a", "colour", "x", {"n": 2}).slug
