"""One component from its folder; what a whole checkpoint may lack is in `test_engine.py`."""

from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from scumble.errors import ModelError, OutOfMemoryError
from scumble.models import find_checkpoint
from scumble_engines.torch.loading import load_component

CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_component_is_frozen_in_its_precision(checkpoint: Path, dtype: torch.dtype):
    found = load_component(AutoencoderKL, find_checkpoint(checkpoint), "vae", dtype, CPU)
    assert isinstance(found, AutoencoderKL)
    assert not found.training
    weights = list(found.parameters())
    assert weights
    assert all(w.dtype == dtype and not w.requires_grad for w in weights)


def test_what_does_not_fit_is_no_damaged_file(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_given: object, **_named: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.44 GiB.")

    found = find_checkpoint(checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "to", full)
        with pytest.raises(OutOfMemoryError, match=r"of 3\.44 GiB"):
            load_component(AutoencoderKL, found, "vae", torch.float32, CPU)
    with pytest.raises(ModelError, match="its vea cannot be loaded"):
        load_component(AutoencoderKL, found, "vea", torch.float32, CPU)
