"""What plugins are shown of a run."""

from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble.images import load_picture
from scumble.masks import Mask
from scumble.requests import SamplingRequest
from scumble.session import Session
from scumble.viewing import latent_size, view_run

PICTURE = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def request(**given: Any) -> SamplingRequest:
    return SamplingRequest(steps=3, **given)


def test_the_latents_size(session: Session):
    assert latent_size(session, request()) == (8, 8)
    assert latent_size(session, request(size=(40, 24))) == (5, 3)
    with pytest.raises(OptionError, match="size is 64x63; this model needs multiples of 8"):
        latent_size(session, request(size=(64, 63)))


def test_prompts_picture_and_masks(session: Session):
    white = np.zeros((64, 64), dtype=bool)
    white[:16, :8] = True
    masks = {"": Mask(white), "sky": Mask(~white)}
    prompts = ("a red cat", "a blue cat", "a dog")
    run, notes = view_run(
        session, request(seed=9, negative="ugly"), prompts, load_picture(PICTURE), masks
    )
    assert notes == []
    assert (run.source.text, *(target.text for target in run.targets)) == prompts
    assert (run.steps, run.seed, run.start, run.latent) == (3, 9, 0, (8, 8))
    assert run.unconditional == "ugly"
    assert run.mask is not None
    assert run.mask.sum() == 2
    np.testing.assert_array_equal(run.masks["sky"], 1 - run.mask)
    assert set(run.masks) == {"sky"}
    assert run.image is not None
    for array in (run.image, run.mask, run.masks["sky"]):
        assert not array.flags.writeable


def test_a_generated_source(session: Session):
    run, _ = view_run(session, request(), ("a red cat",), None, {})
    assert (run.image, run.mask, run.masks, run.targets) == (None, None, {}, ())


def test_what_is_cut_is_told(session: Session):
    _, notes = view_run(session, request(negative="a red cat " * 9), ("a cat",), None, {})
    assert len(notes) == 1
    assert "the model reads 16" in notes[0]
