"""Which rows the rooms benchmark has; a plugin that is installed gets one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble.plugins import Trial
from scumble_bench.evaluation.methods import Named
from scumble_bench.evaluation.rooms_rows import TABLED, read_tasks, rows_for, template_of
from scumble_bench.rooms.baselines import BASELINES
from scumble_bench.rooms.methods.rows import ROWS

Install = Callable[..., Path]
DIRECT = Named("direct", "direct")
STRANGER = """
from scumble import Floats, Options, Plugin, StepView, RunView, Trial, hookimpl

class PullOptions(Options):
    words: tuple[str, ...] = ()

class Pull(Plugin):
    options_type = PullOptions
    trial = Trial({"words": ["red", "sofa"]}, masks=("",))
    def takes_mask(self, name):
        return not name
    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView):
        return {n: 0.5 * (x + step.latents[0]) for n, x in step.latents.items() if n}
"""
BROKEN = "import nowhere_at_all\n"


def test_the_committed_tables_are_there_by_default():
    rows = rows_for([], [DIRECT], [])
    assert rows == list(TABLED), "every plugin of ours stands in a table, or inverts"
    assert rows[: len(ROWS)] == list(ROWS)
    names = {row.name for row in rows if row.task == "colour"}
    assert {one.name for one in BASELINES} - names == {"Prompt-to-Prompt"}
    assert len({(row.task, row.name) for row in rows}) == len(rows)


def test_a_plugin_that_is_installed_gets_a_row(install: Install):
    install("scumble-pull", {"scumble.plugins": {"pull": "pull_mod:Pull"}}, {"pull_mod": STRANGER})
    (row,) = [row for row in rows_for([], [DIRECT], []) if row.method == "pull"]
    assert (row.name, row.task, row.masked) == ("pull", "colour", True)
    assert row.options == {"words": ["{word}", "{noun}"]}


def test_a_plugin_that_cannot_be_loaded_spoils_its_own_row_only(install: Install):
    install("scumble-bad", {"scumble.plugins": {"bad": "bad_mod:Bad"}}, {"bad_mod": BROKEN})
    rows = rows_for([], [DIRECT, Named("ddim", "ddim")], [])
    assert [row.task for row in rows if row.method == "bad"] == ["colour"]
    assert len(rows) > len(TABLED)


def test_every_inversion_has_a_row_unless_the_method_brings_its_own():
    named = [DIRECT, Named("prox", "proximal", {"threshold": "hard"})]
    rows = rows_for([Named("masactrl", "masactrl"), Named("sdedit", "sdedit")], named, [])
    told = [(row.task, row.name, row.inversion, row.asked.get("inversion_options")) for row in rows]
    assert told == [
        ("pose", "MasaCtrl", "direct", None),
        ("pose", "MasaCtrl, prox", "proximal", {"threshold": "hard"}),
        ("silent_pose", "MasaCtrl", "direct", None),
        ("silent_pose", "MasaCtrl, prox", "proximal", {"threshold": "hard"}),
        # Of what is generated nothing is inverted.
        ("generated_pose", "MasaCtrl", "direct", None),
        ("colour", "SDEdit", "direct", None),
        ("colour", "SDEdit, strength 0.5", "direct", None),
    ]


def test_options_of_one_s_own_make_another_row():
    text = 'sdedit:{"strength": 0.7}'
    rows = rows_for([Named(text, "sdedit", {"strength": 0.7})], [DIRECT], [])
    assert [(row.name, row.options, row.task) for row in rows] == [
        (text, {"strength": 0.7}, "colour")
    ]


def test_what_is_generated_has_no_inversion():
    rows = rows_for([], [DIRECT, Named("ddim", "ddim")], ["layout", "repaint"])
    assert rows == [row for row in TABLED if row.task in ("layout", "repaint")]


def test_words_of_a_trial_become_those_of_a_case():
    trial = Trial({"a": {"sofa": "red"}, "b": ["green", "room", 3], "c": "red sofa"})
    assert template_of(trial) == {
        "a": {"{noun}": "{word}"}, "b": ["green", "room", 3], "c": "red sofa"
    }  # fmt: skip


def test_tasks_by_name():
    assert read_tasks(["pose", "colour"]) == ["pose", "colour"]
    with pytest.raises(OptionError, match="--task is 'paint'; there are: colour, refine"):
        read_tasks(["paint"])


@pytest.mark.parametrize(
    ("methods", "inversions", "said"),
    [
        ([Named("ddim", "ddim")], [DIRECT], "plugin 'ddim' edits nothing"),
        ([], [Named("sdedit", "masactrl")], "plugin 'masactrl' does not invert"),
    ],
)
def test_what_cannot_be_measured(methods: list[Named], inversions: list[Named], said: str):
    with pytest.raises(OptionError, match=said):
        rows_for(methods, inversions, [])
    with pytest.raises(OptionError, match="no row of these methods has one of these tasks"):
        rows_for([Named("sdedit", "sdedit")], [DIRECT], ["pose"])
