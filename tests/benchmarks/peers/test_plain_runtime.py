"""The exported plain graph, run by the runtimes' own packages."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import Editor
from scumble.arrays import Array
from scumble.errors import EngineError, ModelError, OptionError
from scumble_bench.peers.peer import PEERS, Work, agreement
from scumble_bench.peers.plain_pipeline import PlainPipeline
from scumble_bench.peers.plain_runtime import PlainRuntimeUNet

ENTRIES = [entry for entry in PEERS if entry.kind == "PlainRuntimeUNet"]
WORK = Work("a red cat on a sofa", steps=4)


@pytest.fixture(scope="module")
def plain(small: Path) -> Array:
    return PlainPipeline.load(small).run(WORK).latents


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.engine)
def test_it_agrees_with_scumble_and_with_diffusers(
    small: Path, pack: Path, plain: Array, entry: Any
):
    peer = entry.load(pack, threads=1)
    assert (peer.name, peer.engine, peer.method) == (entry.name, entry.engine, "generate")
    done = peer.run(WORK)
    with Editor.load(small, engine="torch", device="cpu") as editor:
        assert agreement(done.latents, entry.ours(editor, WORK)) <= entry.tolerance
        shown = np.asarray(editor.generate(WORK.target, steps=4).image).astype(int)
    assert agreement(done.latents, plain) <= entry.tolerance
    assert np.abs(shown - done.picture).max() <= 1
    assert done.rows == {"sampling": 8}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.engine)
def test_rows_in_the_wrong_order_do_not_agree(pack: Path, plain: Array, entry: Any):
    peer: Any = entry.load(pack, threads=1)
    unet = peer._unet
    peer._unet = lambda feed: unet({**feed, "text": feed["text"][::-1].copy()})
    assert agreement(peer.run(WORK).latents, plain) > 10 * entry.tolerance


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.engine)
def test_what_it_cannot_do_is_refused(pack: Path, tiny: Path, work: Any, entry: Any):
    with pytest.raises(OptionError, match="runs fp32"):
        entry.load(pack, "bf16")
    with pytest.raises(OptionError, match="device is 'tpu'"):
        entry.load(pack, device="tpu")
    with pytest.raises(ModelError, match="no pack in fp32"):
        entry.load(tiny)
    peer = entry.load(pack, threads=1)
    with pytest.raises(OptionError, match="edits nothing"):
        peer.run(work("masactrl"))
    with pytest.raises(OptionError, match="graphs of one size"):
        peer.run(Work("a red cat", steps=2, size=(8, 8)))


def test_a_provider_that_is_not_there_is_an_error(pack: Path):
    if "CUDAExecutionProvider" in sys.modules["onnxruntime"].get_available_providers():
        assert PlainRuntimeUNet.load(pack, device="cuda").run(WORK).row_count == 8
        return
    with (
        pytest.raises(EngineError, match="does not run on cuda"),
        pytest.warns(UserWarning, match="CUDA"),
    ):
        PlainRuntimeUNet.load(pack, device="cuda")
