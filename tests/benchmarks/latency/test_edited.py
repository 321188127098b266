from pathlib import Path

import numpy as np

from scumble import Editor
from scumble.images import load_picture
from scumble_bench.demo_edits import EDITS, PICTURES
from scumble_bench.latency.edited import TimedEdit, unseen


def test_an_unseen_picture_looks_the_same_and_is_another():
    known = load_picture(PICTURES[0].path).pixels
    picture = unseen()
    one, other = picture(), picture()
    assert not np.array_equal(one, other)
    for shown in (one, other):
        assert np.abs(shown.astype(int) - known).max() == 1


def test_the_edit_is_the_demos_unless_options_are_given():
    assert TimedEdit(7).arguments["options"] == dict(EDITS[0].options)
    given = TimedEdit(7, {"cross_window": 0.4}, (64, 64)).arguments
    assert given["options"] == {"cross_window": 0.4}
    assert (given["steps"], given["size"]) == (7, (64, 64))
    assert EDITS[0].picture == PICTURES[0].name


def test_a_known_picture_is_replayed_and_an_unseen_one_is_not(small: Path):
    edit, picture = TimedEdit(2), unseen()
    known = picture()
    with Editor.load(small, engine="torch", device="cpu") as editor:
        edit.make_known(editor, known)
        first = editor.edit(picture(), **edit.arguments).rows
        after = editor.edit(known, **edit.arguments).rows
    assert first["inversion"] == 2
    assert "inversion" not in after
    assert sum(after.values()) == 4
