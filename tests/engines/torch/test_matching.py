"""The gradient of how far a noise is from a wanted one: against differences, and refusals."""

from collections.abc import Callable
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from scumble.engine import MATCHED, EngineSettings
from scumble.errors import ControlError
from scumble.models import find_checkpoint
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.matching import MatchedUNet

TINY = run_path(str(Path(__file__).parents[2] / "tiny_checkpoint.py"))
Ports = dict[str, Any]
Engines = Callable[..., TorchEngine]
Base = Callable[..., Ports]


def asked(base: Base, rows: int = 2) -> Ports:
    rng = np.random.default_rng(11)
    wanted = rng.standard_normal((rows, 4, 8, 8))
    weights = np.array([2.5, 0.125, 7.0][:rows])
    return {**base(rows, dtype=np.float64), "match.noise": wanted, "match.weight": weights}


def written(engine: TorchEngine, ports: Ports) -> np.ndarray:
    """The loss of each row, of a step's noise."""
    plain = {name: port for name, port in ports.items() if not name.startswith("match.")}
    away = engine.step(plain).noise - ports["match.noise"]
    return ports["match.weight"] * np.mean(away**2, axis=(1, 2, 3))


def test_the_loss_is_of_the_noise_that_a_step_gives(engines: Engines, base: Base):
    engine = engines("fp64")
    ports = asked(base, 3)
    np.testing.assert_allclose(engine.gradient(ports).losses, written(engine, ports), rtol=1e-12)


@pytest.mark.parametrize("port", ["sample", "text"])
def test_it_is_the_derivative_of_the_loss(engines: Engines, base: Base, port: str):
    engine = engines("fp64")
    ports = asked(base)
    gradient = engine.gradient(ports)
    found = gradient.text if port == "text" else gradient.latents
    assert found is not None
    rng = np.random.default_rng(1)
    for _ in range(3):
        way = rng.standard_normal(ports[port].shape)
        ahead, behind = (
            written(engine, {**ports, port: ports[port] + side * 1e-5 * way}) for side in (1, -1)
        )
        slope = (found * way).sum(axis=tuple(range(1, way.ndim)))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6)


def test_rows_do_not_see_each_other(engines: Engines, base: Base):
    engine = engines("fp64")
    ports = asked(base, 3)
    whole = engine.gradient(ports)
    for row in range(3):
        alone = engine.gradient({name: port[row : row + 1] for name, port in ports.items()})
        for found, wanted in ((alone.text, whole.text), (alone.latents, whole.latents)):
            assert found is not None
            assert wanted is not None
            np.testing.assert_allclose(found[0], wanted[row], rtol=1e-9, atol=1e-15)


def test_what_goes_back_is_of_order_one(
    engines: Engines, base: Base, monkeypatch: pytest.MonkeyPatch
):
    """A tiny weight on a mean over many cells would vanish in fp16, whose least is 6e-8."""
    backward: list[float] = []
    plain = torch.autograd.grad

    def noting(total: Any, by: Any) -> Any:
        backward.append(float(total.detach()))
        return plain(total, by)

    monkeypatch.setattr(torch.autograd, "grad", noting)
    ports = {**asked(base, 1), "match.weight": np.array([1e-9])}
    found = engines("fp32").gradient({n: v.astype(np.float32) if v.dtype.kind == "f" else v
                                      for n, v in ports.items()})  # fmt: skip
    assert backward[0] > 1
    assert 0 < found.losses[0] < 1e-7


def test_bf16_follows_fp32(checkpoint: Path, engines: Engines, base: Base):
    ports = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in asked(base).items()}
    wanted = engines("fp32").gradient(ports).text
    with TorchEngine(EngineSettings("bf16", "cpu")) as half:
        half.load(find_checkpoint(checkpoint))
        found = half.gradient(ports).text
    assert found is not None
    assert wanted is not None
    assert found.dtype == np.float32
    alike = float((found * wanted).sum() / np.linalg.norm(found) / np.linalg.norm(wanted))
    assert alike > 0.98


def test_parameters_have_no_gradient_and_the_next_step_is_as_before(engines: Engines, base: Base):
    engine = engines("fp32")
    ports = asked(base)
    plain = base(2)
    before = engine.step(plain).noise
    engine.gradient({n: v.astype(np.float32) if v.dtype.kind == "f" else v
                     for n, v in ports.items()})  # fmt: skip
    assert all(p.grad is None and not p.requires_grad for p in engine.parts.unet.parameters())
    np.testing.assert_array_equal(engine.step(plain).noise, before)


def test_replaced_processors_are_an_error(engine: TorchEngine, base: Base):
    first = next(m for n, m in engine.parts.unet.named_modules() if n.endswith("attn1"))
    first.set_processor(AttnProcessor2_0())
    ports = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in asked(base).items()}
    with pytest.raises(ControlError, match="replaced after loading"):
        engine.gradient(ports)


def test_the_engine_says_that_it_has_it(engines: Engines):
    assert engines("fp32").supports(MATCHED)


def test_the_probe_catches_a_gradient_that_does_not_see_what_is_wanted(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    session = Session(find_checkpoint(checkpoint), TorchEngine(EngineSettings(device="cpu")))
    require_effect(session, "match")
    forward = MatchedUNet.forward
    monkeypatch.setattr(
        MatchedUNet,
        "forward",
        lambda self, wanted, *given: forward(self, torch.zeros_like(wanted), *given),
    )
    with pytest.raises(ControlError, match=r"the match ports .* have no effect"):
        require_effect(session, "match")


@pytest.mark.thorough
def test_a_model_that_takes_pooled_text(tmp_path: Path):
    """SDXL's shape: the derivative is by the text, and the pooled one stays as it is."""
    folder = TINY["write_paired_checkpoint"](tmp_path / "paired")
    with TorchEngine(EngineSettings("fp64", "cpu")) as engine:
        info = engine.load(find_checkpoint(folder))
        rng = np.random.default_rng(3)
        assert info.pooled is not None
        ports = {
            "sample": rng.standard_normal((1, 4, 16, 16)),
            "timestep": np.array([481]),
            "text": rng.standard_normal((1, info.tokens, info.features)),
            "added.text": rng.standard_normal((1, info.pooled)),
            "added.size": np.array([[32.0, 32, 0, 0, 32, 32]]),
            "match.noise": rng.standard_normal((1, 4, 16, 16)),
            "match.weight": np.ones(1),
        }
        found = engine.gradient(ports).text
        way = rng.standard_normal(ports["text"].shape)
        ahead, behind = (
            written(engine, {**ports, "text": ports["text"] + side * 1e-5 * way})
            for side in (1, -1)
        )
        assert found is not None
        assert (found * way).sum() == pytest.approx(float(ahead[0] - behind[0]) / 2e-5, rel=1e-6)
