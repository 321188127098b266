"""The modules beside the UNet give what diffusers and transformers give."""

from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from scumble.engine import EngineSettings
from scumble.models import find_checkpoint
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.texts import load_text_encoders
from scumble_export.components import Decoder, Encoder, PairedTextEncoder, TextEncoder

pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def engine(small: Path) -> Iterator[TorchEngine]:
    with TorchEngine(EngineSettings(device="cpu")) as loaded:
        loaded.load(find_checkpoint(small))
        yield loaded


@torch.inference_mode()
def test_text(engine: TorchEngine):
    ids = np.random.default_rng(0).integers(0, 20, (3, 40))
    found = TextEncoder(engine.parts.texts.first)(torch.from_numpy(ids)).numpy()
    assert np.allclose(found, engine.encode_text(ids).states, rtol=0, atol=1e-5)
    ids[:, 20:] = 7  # what comes later is not seen by what comes before
    later = TextEncoder(engine.parts.texts.first)(torch.from_numpy(ids)).numpy()
    assert np.array_equal(found[:, :20], later[:, :20])
    assert not np.allclose(found[:, 20:], later[:, 20:], atol=1e-2)


@torch.inference_mode()
@pytest.mark.parametrize("end", ["named", "largest"])
def test_text_of_two_encoders(tmp_path: Path, end: str):
    tiny = run_path(str(Path(__file__).parents[1] / "tiny_checkpoint.py"))
    folder = tiny["write_paired_checkpoint"](tmp_path / "paired")
    texts = load_text_encoders(find_checkpoint(folder), torch.float32, torch.device("cpu"))
    assert texts.second is not None
    last = cast("int", texts.second.config.eos_token_id)
    ids, ids_2 = torch.randint(3, 200, (2, 3, 40))
    for row, place in enumerate((5, 20, 39)):
        ids_2[row, place:] = last  # the first of several is the end
    if end == "largest":  # as in the files of CLIP that name the wrong one
        texts.second.config.eos_token_id = texts.second.text_model.eos_token_id = 2
        ids_2[:, 2] = 2
    states, pooled = texts.encode(ids, ids_2)
    found = PairedTextEncoder(*texts)(ids, ids_2)
    assert torch.allclose(found[0], states, rtol=0, atol=1e-5)
    assert pooled is not None
    assert torch.allclose(found[1], pooled, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_pictures(engine: TorchEngine):
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (1, 3, 32, 48)).astype(np.float32)
    encoded = Encoder(engine.parts.vae)(torch.from_numpy(pixels)).numpy()
    assert np.allclose(encoded, engine.encode_image(pixels), rtol=0, atol=1e-6)
    latents = rng.standard_normal((2, 4, 16, 24)).astype(np.float32)
    decoded = Decoder(engine.parts.vae)(torch.from_numpy(latents)).numpy()
    assert np.allclose(decoded, engine.decode(latents), rtol=0, atol=1e-6)


@torch.inference_mode()
def test_an_autoencoder_without_the_convolutions_between():
    blocks: dict[str, Any] = {
        "block_out_channels": (8,),
        "down_block_types": ("DownEncoderBlock2D",),
        "up_block_types": ("UpDecoderBlock2D",),
        "norm_num_groups": 4,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
    }
    vae: Any = AutoencoderKL(**blocks).eval()
    pixels = torch.rand(1, 3, 16, 16)
    wanted = vae.encode(pixels).latent_dist.mean * vae.config["scaling_factor"]
    assert torch.equal(Encoder(vae)(pixels), wanted)
    latents = torch.rand(1, 4, 16, 16)
    assert torch.equal(
        Decoder(vae)(latents), vae.decode(latents / vae.config["scaling_factor"]).sample
    )
