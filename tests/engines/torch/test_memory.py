"""Torch has many words for one trouble."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scumble.engine import EngineSettings
from scumble.errors import OutOfMemoryError
from scumble.recovery import Recovery
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.memory import is_out_of_memory, typed_memory_errors

FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate memory)"
    ),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    MemoryError("Unable to allocate 3 TiB"),
]
OTHERS = [
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:40])
def test_they_become_one_error(error: Exception):
    with pytest.raises(OutOfMemoryError) as caught, typed_memory_errors():
        raise error
    text = str(caught.value)
    assert text.startswith("torch found no memory for a tensor")
    assert text.endswith(".")
    assert ". " not in text
    if "2.00 GiB" in str(error):
        assert "of 2.00 GiB;" in text


@pytest.mark.parametrize("error", OTHERS, ids=str)
def test_other_errors_pass(error: Exception):
    assert not is_out_of_memory(error)
    with pytest.raises(RuntimeError) as caught, typed_memory_errors():
        raise error
    assert caught.value is error


def test_what_torch_says_on_this_machine():
    with (
        pytest.raises(OutOfMemoryError, match=r"no memory for a tensor of [0-9]+ bytes"),
        typed_memory_errors(),
    ):
        torch.empty(2**60)


def test_an_error_that_memory_caused_is_one_of_memory():
    """As where a capture is ended that memory broke off."""

    def capture() -> None:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error")

    with pytest.raises(OutOfMemoryError), typed_memory_errors():
        capture()


def test_a_step_that_lacks_memory_runs_in_parts_and_keeps_no_tensor(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
):
    """With a tensor of the failed call alive in a traceback, there would be none for the next."""
    unet = engine.parts.unet
    forward = unet.forward
    tried: list[weakref.ref[Tensor]] = []
    alive: list[bool] = []

    def full(sample: Tensor, *given: Any, **named: Any) -> Any:
        alive.append(any(one() is not None for one in tried))
        taken = sample.clone()
        tried.append(weakref.ref(taken))
        if len(sample) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")
        return forward(sample, *given, **named)

    rng = np.random.default_rng(0)
    ports = {
        "sample": rng.standard_normal((5, 4, 8, 8)).astype(np.float32),
        "timestep": np.full(5, 500),
        "text": rng.standard_normal((5, 40, 32)).astype(np.float32),
    }
    wanted = engine.step(ports).noise
    monkeypatch.setattr(unet, "forward", full)
    gc.disable()  # what only a collection would free counts as kept
    monkeypatch.setattr(gc, "collect", lambda: 0)
    try:
        recovery = Recovery(engine)
        found = recovery.step(ports, "step 0").noise
    finally:
        gc.enable()
    assert np.abs(found - wanted).max() < 1e-5
    assert alive == [False] * 6, "5 twice, 3, then 2, 2 and 1"
    assert len(recovery.notes) == 2


@pytest.mark.parametrize("call", ["encode_text", "encode_image", "decode"])
def test_every_call_is_typed(engine: TorchEngine, call: str, monkeypatch: pytest.MonkeyPatch):
    def full(*_given: object, **_named: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    given = {
        "encode_text": ("text_encoder", np.zeros((1, 40), np.int64)),
        "encode_image": ("vae", np.zeros((1, 3, 16, 16), np.float32)),
        "decode": ("vae", np.zeros((1, 4, 8, 8), np.float32)),
    }
    part, value = given[call]
    parts = engine.parts
    module = {"text_encoder": parts.texts.first, "vae": parts.vae}[part]
    method = {"encode_text": "forward", "encode_image": "encode", "decode": "decode"}[call]
    with monkeypatch.context() as patch:
        patch.setattr(module, method, full)
        with pytest.raises(OutOfMemoryError):
            getattr(engine, call)(value)
    getattr(engine, call)(value)


def test_trimming_costs_nothing_but_time(engine: TorchEngine):
    ports = {
        "sample": np.ones((1, 4, 8, 8), np.float32),
        "timestep": np.full(1, 500),
        "text": np.ones((1, 40, 32), np.float32),
    }
    before = engine.step(ports).noise
    engine.trim()
    assert np.array_equal(engine.step(ports).noise, before)
    TorchEngine(EngineSettings(device="cpu")).trim()
