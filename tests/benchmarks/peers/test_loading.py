from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from scumble.errors import OptionError
from scumble_bench.peers.loading import load_modules, noise_of


@pytest.mark.parametrize(
    ("precision", "dtypes"),
    [
        ("fp32", (torch.float32, torch.float32, torch.float32)),
        ("fp64", (torch.float64, torch.float64, torch.float64)),
        ("bf16", (torch.bfloat16, torch.float32, torch.float32)),
    ],
)
def test_all_is_frozen_and_in_the_precision_asked_for(tiny: Path, precision: Any, dtypes: Any):
    modules, checkpoint = load_modules(tiny, precision, None, "cpu")
    assert tuple(module.dtype for module in modules) == dtypes
    assert not any(p.requires_grad for module in modules for p in module.parameters())
    assert checkpoint.folder == tiny
    assert (modules.factor, modules.channels) == (2, 4)


def test_another_precision_is_refused(tiny: Path):
    with pytest.raises(OptionError, match="ask for one of fp32, fp64, bf16"):
        load_modules(tiny, cast("Any", "int8"), None, "cpu")


def test_a_picture_comes_back_in_its_size(tiny: Path, picture: Any):
    modules, _ = load_modules(tiny, "fp32", None, "cpu")
    with torch.inference_mode():
        latent = modules.encode(picture, (16, 16))
        assert latent.shape == (1, 4, 16, 16)
        shown = modules.decode(torch.cat([latent, 0 * latent]))
    assert [pixels.shape for pixels in shown] == [(32, 32, 3)] * 2
    assert not np.array_equal(shown[0], shown[1])


def test_noise_is_numpys():
    found = noise_of(3, (1, 4, 2, 2), torch.zeros(0, dtype=torch.float64))
    np.testing.assert_array_equal(found, np.random.default_rng(3).standard_normal((1, 4, 2, 2)))
