"""The registry: every peer does what Scumble does, and says what it ran."""

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import Editor
from scumble.arrays import Array
from scumble_bench.peers.peer import PEERS, PeerEntry, PeerRun, agreement

NAMES = {entry.name: entry for entry in PEERS}
TORCH = [e for e in PEERS if e.engine == "torch" and not e.settings.get("compiled")]
# diffusers keeps its schedule in float32, whatever the UNet is in.
EXACT = {"plain diffusers": 1e-5}
ROWS = {
    "plain diffusers": {"sampling": 8},
    "reference prompt_to_prompt": {"inversion": 4, "offsets": 16, "edit": 16},
    "reference masactrl": {"inversion": 4, "offsets": 16, "edit": 16},
    "reference masactrl ddim": {"inversion": 4, "edit": 16},
    # Two of four steps are guided, by two updates of two rows each.
    "reference mag_edit": {"inversion": 4, "updates": 8, "edit": 16},
}


def shown(entry: PeerEntry) -> str:
    return entry.name.replace(" ", "-")


def given(entry: PeerEntry, picture: Array) -> Array | None:
    return None if entry.method == "generate" else picture


def test_no_two_have_one_name_and_the_registry_imports_no_runtime():
    assert len(NAMES) == len(PEERS) == 11
    code = (
        "import sys, scumble_bench.peers.peer; "
        "print({'torch', 'diffusers', 'onnxruntime', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("entry", PEERS, ids=shown)
def test_every_entry_names_a_class_that_does_its_method(entry: PeerEntry):
    kind = getattr(importlib.import_module(entry.module), entry.kind)
    assert kind.method == entry.method
    assert entry.settings.get("engine", getattr(kind, "engine", None)) == entry.engine


@pytest.mark.parametrize("entry", PEERS, ids=shown)
def test_its_demo_work_is_of_its_method_and_has_its_files(entry: PeerEntry):
    work, picture = entry.work(7, (64, 64)), entry.picture()
    assert (work.method, work.steps, work.size) == (entry.method, 7, (64, 64))
    assert work.inversion == entry.inversion
    assert (picture is None) == (work.source is None) == (entry.method == "generate")
    for file in (picture, work.mask):
        assert file is None or (isinstance(file, Path) and file.is_file())
    assert (work.mask is not None) == (entry.method == "mag_edit")


@pytest.mark.parametrize("entry", TORCH, ids=shown)
def test_it_agrees_with_scumble_to_the_last_digits(
    tiny: Path, exact: Editor, picture: Array, work: Any, entry: PeerEntry
):
    asked = work(entry.method, inversion=entry.inversion)
    peer = entry.load(tiny, "fp64")
    assert (peer.method, peer.engine) == (entry.method, entry.engine)
    assert entry.name.startswith(peer.name)
    done = peer.run(asked, given(entry, picture))
    wanted = entry.ours(exact, asked, given(entry, picture))
    assert done.latents.dtype == wanted.dtype == np.float64
    assert agreement(done.latents, wanted) <= EXACT.get(entry.name, 1e-9)
    assert done.rows == ROWS[entry.name]
    assert done.row_count == sum(ROWS[entry.name].values())
    assert done.gradients == (4 if entry.method == "mag_edit" else 0)
    assert done.picture.shape == (32, 32, 3)
    assert done.picture.dtype == np.uint8
    if asked.source is not None:
        assert agreement(done.latents, done.latents[:1]) > 0.01, "the edit did nothing"


@pytest.mark.parametrize("entry", TORCH, ids=shown)
def test_in_fp32_it_agrees_within_its_tolerance(
    tiny: Path, editor: Editor, picture: Array, work: Any, entry: PeerEntry
):
    asked, image = work(entry.method, inversion=entry.inversion), given(entry, picture)
    found = entry.load(tiny).run(asked, image).latents
    assert agreement(found, entry.ours(editor, asked, image)) <= entry.tolerance


@pytest.mark.thorough
@pytest.mark.parametrize("entry", [e for e in PEERS if not e.settings.get("compiled")], ids=shown)
def test_on_the_demo_it_agrees_within_its_tolerance(entry: PeerEntry):
    asked, image = entry.work(6), entry.picture()
    done = entry.load("rooms").run(asked, image)
    with Editor.load("rooms", engine="torch", device="cpu") as editor:
        assert agreement(done.latents, entry.ours(editor, asked, image)) <= entry.tolerance


def test_agreement_is_of_the_last_latents_and_relative_to_ours():
    ours = np.zeros((2, 1, 2, 2))
    ours[1, 0, 0, 0] = -4
    theirs = ours.copy()
    theirs[0] = 100
    theirs[1, 0, 1, 1] = 1
    assert agreement(theirs, ours) == 0.25
    theirs[1, 0, 0, 1] = np.nan
    assert not agreement(theirs, ours) <= 1


def test_rows_of_all_stages_are_counted():
    run = PeerRun(np.zeros((1, 4, 2, 2)), {"inversion": 3, "edit": 5}, 0, np.zeros((2, 2, 3)))
    assert run.row_count == 8
