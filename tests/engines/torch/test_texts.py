"""The two text encoders of SDXL's shape, of which the UNet is told the states before the last."""

from pathlib import Path
from runpy import run_path
from typing import Any, cast

import pytest
import torch

from scumble.errors import ModelError
from scumble.models import find_checkpoint
from scumble_engines.torch.texts import TextEncoders, load_text_encoders

TINY = run_path(str(Path(__file__).parents[2] / "tiny_checkpoint.py"))


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY["write_paired_checkpoint"](tmp_path_factory.mktemp("paired"))


def loaded(folder: Path) -> TextEncoders:
    return load_text_encoders(find_checkpoint(folder), torch.float32, torch.device("cpu"))


def before_last(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """The input of the last layer, as the layer sees it."""
    seen: list[torch.Tensor] = []
    text = getattr(model, "text_model", model)
    hook = text.encoder.layers[-1].register_forward_pre_hook(
        lambda _module, given, named: seen.append(given[0] if given else named["hidden_states"]),
        with_kwargs=True,
    )
    model(ids)
    hook.remove()
    return seen[0]


@torch.inference_mode()
def test_two_encoders_side_by_side(paired: Path):
    texts = loaded(paired)
    assert texts.second is not None
    assert texts.pooled == TINY["POOLED"]
    ids = torch.randint(0, 200, (2, 2, 40))
    ids[:, :, 30] = cast("int", texts.second.config.eos_token_id)
    states, pooled = texts.encode(*ids)
    assert states.shape == (2, 40, TINY["WIDTH"] + TINY["SECOND_WIDTH"])
    width = TINY["WIDTH"]
    assert torch.equal(states[..., :width], before_last(texts.first, ids[0]))
    assert torch.equal(states[..., width:], before_last(texts.second, ids[1]))
    assert pooled is not None
    last = texts.second.text_model(ids[1]).last_hidden_state
    assert torch.allclose(pooled, texts.second.text_projection(last[:, 30]), atol=1e-6)


@torch.inference_mode()
def test_one_encoder_gives_its_last_state_normalised(checkpoint: Path):
    texts = loaded(checkpoint)
    assert texts.pooled is None
    ids = torch.randint(0, 200, (2, 40))
    states, pooled = texts.encode(ids)
    assert pooled is None
    assert torch.equal(states, texts.first(ids).last_hidden_state)


def test_a_unet_that_does_not_fit_its_encoders_is_refused(paired: Path, checkpoint: Path):
    whole = find_checkpoint(checkpoint)
    object.__setattr__(whole, "unet", {**whole.unet, "addition_embed_type": "image"})
    with pytest.raises(ModelError, match=r"tells its UNet image of None numbers beside the text"):
        load_text_encoders(whole, torch.float32, torch.device("cpu"))
    other = find_checkpoint(paired)
    object.__setattr__(other, "unet", {**other.unet, "addition_embed_type": None})
    with pytest.raises(ModelError, match=r"tells its UNet nothing .* call for text_time of 68"):
        load_text_encoders(other, torch.float32, torch.device("cpu"))
