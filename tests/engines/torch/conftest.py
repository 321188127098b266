"""The tiny checkpoint on the torch engine, and attention written out as the reference.

Random weights: these tests compare tensors with tensors, and say nothing of pictures.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble.engine import EngineSettings, Precision
from scumble.models import find_checkpoint
from scumble_bench.rooms.tokenizer import WINDOW
from scumble_engines.torch import TorchEngine

TINY = run_path(str(Path(__file__).parents[2] / "tiny_checkpoint.py"))
WIDTH: int = TINY["WIDTH"]
write_checkpoint: Callable[..., Path] = TINY["write_checkpoint"]


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
