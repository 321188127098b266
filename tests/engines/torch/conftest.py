"""A checkpoint of real classes at tiny size, and attention written out as the reference.

Random weights: these tests compare tensors with tensors, and say nothing of pictures.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from scumble.engine import EngineSettings, Precision
from scumble.models import find_checkpoint
from scumble_bench.rooms.models import SCHEDULER
from scumble_bench.rooms.tokenizer import WINDOW, save_tokenizer
from scumble_engines.torch import TorchEngine

SENTENCE = "a red blue fluffy cat dog sofa vase purple carpet picture on in room with and sleepy"
WIDTH = 32

UNET: dict[str, Any] = {
    "sample_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": (2, 4),
    "norm_num_groups": 8,
}


def write_checkpoint(folder: Path, **scheduler: object) -> Path:
    """Write a diffusers folder: two levels and a middle, 14 attentions, text window of 40."""
    state = torch.get_rng_state()
    torch.manual_seed(7)
    unet = UNet2DConditionModel(**UNET)
    # As initialised, attention is nearly uniform and every map alike; trained ones are not.
    for path, module in unet.named_modules():
        if path.endswith(("to_q", "to_k")):
            cast("Any", module).weight.data *= 3.0
    unet.save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=cast("Any", (8, 16)),
        down_block_types=cast("Any", ("DownEncoderBlock2D",) * 2),
        up_block_types=cast("Any", ("UpDecoderBlock2D",) * 2),
        norm_num_groups=4,
        sample_size=64,
    )
    vae.save_pretrained(folder / "vae")
    save_tokenizer(folder / "tokenizer", SENTENCE.split())
    vocabulary = len(json.loads((folder / "tokenizer" / "vocab.json").read_text("utf-8")))
    text = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=64,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=WINDOW,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
        pad_token_id=vocabulary - 1,
    )
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    DDIMScheduler(**{**SCHEDULER, **scheduler}).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    torch.set_rng_state(state)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint's folder."""
    return write_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def engines(checkpoint: Path) -> Iterator[Callable[[Precision], TorchEngine]]:
    """Loaded engines by precision; do not change them."""
    loaded: dict[Precision, TorchEngine] = {}

    def of(precision: Precision) -> TorchEngine:
        if precision not in loaded:
            loaded[precision] = TorchEngine(EngineSettings(precision, "cpu"))
            loaded[precision].load(find_checkpoint(checkpoint))
        return loaded[precision]

    yield of
    for engine in loaded.values():
        engine.close()


@pytest.fixture
def engine(checkpoint: Path) -> Iterator[TorchEngine]:
    """A loaded fp32 engine of the test's own."""
    with TorchEngine(EngineSettings("fp32", "cpu")) as loaded:
        loaded.load(find_checkpoint(checkpoint))
        yield loaded


class Written:
    """Attention with its probabilities written out: softmax(Q K / sqrt(depth)) V."""

    def probabilities(self, path: str, q: Tensor, k: Tensor) -> Tensor:
        """Return (rows, heads, queries, keys)."""
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)

    def attend(self, path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return (rows, heads, queries, depth); tests override this."""
        return self.probabilities(path, q, k) @ v

    def at(self, path: str) -> Callable[..., Tensor]:
        """Return the diffusers processor of one module."""

        def process(
            attn: Attention,
            hidden_states: Tensor,
            encoder_hidden_states: Tensor | None = None,
            attention_mask: Tensor | None = None,
            temb: Tensor | None = None,
        ) -> Tensor:
            text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            modules = cast("Any", attn)

            def heads(projected: Tensor) -> Tensor:
                return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

            q = heads(modules.to_q(hidden_states))
            k, v = heads(modules.to_k(text)), heads(modules.to_v(text))
            out = self.attend(path, q, k, v).transpose(1, 2).flatten(2)
            return modules.to_out[0](out)

        return process

    def on(self, unet: UNet2DConditionModel) -> None:
        """Install at every attention of a UNet."""
        for path, module in unet.named_modules():
            if isinstance(module, Attention):
                cast("Any", module).set_processor(self.at(path))


@pytest.fixture
def written() -> type[Written]:
    """The reference attention, to be subclassed."""
    return Written


@pytest.fixture
def plain(checkpoint: Path) -> Callable[[torch.dtype], UNet2DConditionModel]:
    """Returns the checkpoint's UNet as diffusers loads it, unmodified."""

    def load(dtype: torch.dtype = torch.float32) -> UNet2DConditionModel:
        loaded = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=dtype)
        return cast("UNet2DConditionModel", loaded).eval().requires_grad_(False)

    return load


@pytest.fixture
def base() -> Callable[..., dict[str, np.ndarray]]:
    """Returns the plain ports of a step on random inputs."""

    def ports(rows: int = 3, latent: tuple[int, int] = (8, 8), dtype: Any = np.float32) -> Any:
        rng = np.random.default_rng(3)
        return {
            "sample": rng.standard_normal((rows, 4, *latent)).astype(dtype),
            "timestep": np.full(rows, 481, dtype=np.int64),
            "text": rng.standard_normal((rows, WINDOW, WIDTH)).astype(dtype),
        }

    return ports
