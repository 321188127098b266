"""The gallery's edits are of files that are there, with options that their plugins take."""

from itertools import pairwise

import pytest

from scumble.cli.settings import read_settings
from scumble.host import Host
from scumble_bench.gallery import ROOT
from scumble_bench.gallery_entries import ENTRIES, SCENES, SHOWN, Entry

OURS = {f"{SHOWN}/{name}.png" for name in SCENES} | {
    f"{SHOWN}/{name}-{noun}.png" for name, (_, noun) in SCENES.items() if noun
}


def given(entry: Entry, flag: str) -> list[str]:
    """What follows a flag, wherever it stands."""
    return [after for word, after in pairwise(entry.command) if word == flag]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_can_be_run(entry: Entry):
    files = [word for word in entry.arguments if word.startswith(("benchmarks/", "docs/"))]
    assert all((ROOT / name).is_file() or name in OURS for name in files)
    (method,) = given(entry, "--method") or ["prompt_to_prompt"]
    Host([(method, read_settings(method, given(entry, "--set")))])
    assert len(given(entry, "--source")) == len(given(entry, "--target")) == 1
    assert given(entry, "--seed") == [str(entry.seed)]
    assert given(entry, "--out") == [f"{entry.name}.png"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_picture_is_described(entry: Entry):
    assert len(entry.caption.split()) > 4
    assert entry.caption.endswith(".")


def test_names_differ_every_method_is_shown_and_failures_are_among_them():
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert len({entry.title for entry in ENTRIES}) == len(ENTRIES)
    methods = {(given(entry, "--method") or ["prompt_to_prompt"])[0] for entry in ENTRIES}
    assert methods == {
        "prompt_to_prompt", "masactrl", "mag_edit", "initial_noise", "noise_blocks",
    }  # fmt: skip
    assert {entry.works for entry in ENTRIES} == {True, False}
