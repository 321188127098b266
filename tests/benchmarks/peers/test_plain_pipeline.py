"""Diffusers' own pipeline; `test_peer.py` holds it to Scumble's latents."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import Editor
from scumble.errors import OptionError
from scumble_bench.peers.peer import PEERS, agreement
from scumble_bench.peers.plain_pipeline import PlainPipeline

ENTRY = PEERS[0]


@pytest.fixture(scope="module")
def plain(tiny: Path) -> PlainPipeline:
    return PlainPipeline.load(tiny)


def test_the_picture_is_scumbles_too(plain: PlainPipeline, editor: Editor, work: Any):
    asked = work("generate")
    done = plain.run(asked)
    run = editor.generate(asked.target, steps=4, size=(32, 32))
    assert np.abs(np.asarray(run.image).astype(int) - done.picture).max() <= 1


@pytest.mark.parametrize("wrong", [{"guidance": 7.0}, {"seed": 1}, {"target": "a red cat"}])
def test_other_work_does_not_agree(
    plain: PlainPipeline, editor: Editor, work: Any, wrong: dict[str, Any]
):
    wanted = ENTRY.ours(editor, work("generate"))
    assert agreement(plain.run(work("generate", **wrong)).latents, wanted) > 10 * ENTRY.tolerance


def test_rows_are_of_one_run_at_the_models_own_size(plain: PlainPipeline, work: Any):
    for _ in range(2):
        done = plain.run(work("generate", size=None, steps=2))
        assert done.rows == {"sampling": 4}
        assert done.picture.shape == (64, 64, 3)


def test_it_runs_in_bf16(tiny: Path, plain: PlainPipeline, work: Any):
    half = PlainPipeline.load(tiny, "bf16").run(work("generate"))
    assert half.latents.dtype == np.float32
    assert 1e-4 < agreement(half.latents, plain.run(work("generate")).latents) < 0.3


def test_an_edit_is_refused(plain: PlainPipeline, picture: Any, work: Any):
    with pytest.raises(OptionError, match="edits nothing"):
        plain.run(work("generate"), picture)
    with pytest.raises(OptionError, match="edits nothing"):
        plain.run(work("masactrl"))
