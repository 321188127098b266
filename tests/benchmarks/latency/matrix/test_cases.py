import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.plugins import load_class
from scumble_bench.demo_edits import EDITS, METHOD_EDITS
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.cases import Pictures, case_of
from scumble_bench.peers.peer import PEERS


def spec(method: str) -> CellSpec:
    return CellSpec(method, "torch", "fp32", "rooms", (64, 32), 7, "first")


@pytest.mark.parametrize("method", ["prompt_to_prompt", "masactrl", "mag_edit"])
def test_peers_are_given_the_same_work(method: str):
    case = case_of(spec(method))
    entry = next(e for e in PEERS if e.name == f"reference {method}")
    theirs = entry.work(7, (64, 32))
    for name in ("target", "source", "method", "mask", "inversion", "steps", "size", "guidance"):
        assert getattr(case.work, name) == getattr(theirs, name), name
    assert dict(case.work.options) == dict(theirs.options)
    assert case.pixels is not None


def test_the_edit_that_makes_a_picture_known_is_another_one():
    assert case_of(spec("prompt_to_prompt")).another == EDITS[1].target != EDITS[0].target


def test_a_method_without_an_edit_in_the_demo_is_tried_on_its_own():
    case = case_of(spec("blended_latent_diffusion"))
    trial = load_class("blended_latent_diffusion")[1].trial
    assert (case.work.source, case.work.target) == (trial.source, trial.target)
    assert case.pixels is not None
    mask = np.asarray(case.work.mask)
    assert mask.shape == case.pixels.shape[:2]
    assert (mask[:, 0] == 255).all()
    assert (mask[:, -1] == 0).all()
    assert case.masks == {}


def test_a_generated_picture_is_none():
    (edit,) = (e for e in METHOD_EDITS if e.method == "noise_blocks")
    case = case_of(spec("noise_blocks"))
    assert case.pixels is None
    assert case.work.source == edit.target
    pictures = Pictures(case)
    assert (pictures.unseen()[0], pictures.known) == (None, None)
    assert pictures.unseen()[1] != pictures.unseen()[1]


def test_unseen_pictures_differ_and_a_seed_repeats_them():
    case = case_of(spec("masactrl"))
    one, other = Pictures(case, 5), Pictures(case, 5)
    first, second = one.unseen()[0], one.unseen()[0]
    assert first is not None
    assert second is not None
    assert case.pixels is not None
    assert not np.array_equal(first, second)
    assert np.abs(first.astype(int) - case.pixels).max() == 1
    np.testing.assert_array_equal(other.unseen()[0], first)
    assert (np.asarray(Pictures(case, 6).unseen()[0]) != first).any()


def test_a_plugin_that_there_is_not_is_refused():
    with pytest.raises(OptionError, match="no plugin"):
        case_of(spec("nothing"))
