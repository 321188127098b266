"""The fake engine's gradients: right, by other differences and by torch's own terms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.engine import EngineSettings, Precision
from scumble.ports import neutral
from scumble.sensitivity import require_effect
from scumble.sites import Site
from scumble.testing.fake_engine import Pass, made_weights
from scumble.testing.fake_gradient import GuidedFakeEngine
from scumble.testing.fake_model import fake_checkpoint, fake_session


def engine(folder: Path, precision: Precision = "fp64") -> GuidedFakeEngine:
    made = GuidedFakeEngine(EngineSettings(precision))
    made.load(fake_checkpoint(folder))
    return made


def ports(of: GuidedFakeEngine, dtype: Any = np.float64) -> dict[str, Any]:
    """A row that takes the source's keys, and a mix of its maps; a loss of two terms."""
    info, rng = of.info, np.random.default_rng(4)
    sizes = info.sizes((8, 8))
    plain = {
        "sample": rng.standard_normal((1, 4, 8, 8)),
        "timestep": np.array([501]),
        "text": rng.standard_normal((1, info.tokens, info.features)),
    }
    told = {**plain, "sample": rng.standard_normal((1, 4, 8, 8)), "record.row": np.zeros(1, int)}
    recorded = of.step({name: _as(value, dtype) for name, value in told.items()}).recorded
    routed = {**neutral("route", sizes, 1), **neutral("mix", sizes, 1)}
    routed["route"][:, 1, 0] = 1
    routed["mix.row"][:] = 1
    routed["mix.source"] = rng.random((1, info.tokens, info.tokens)) / info.tokens
    routed["mix.own"] = rng.random((1, info.tokens))
    routed["mix.sites"][:] = [[1], [0], [1]]
    masks = np.zeros((1, 2, 8, 8))
    masks[0, 0, 2:6, 1:7] = masks[0, 1, :4] = 1
    loss = {
        "loss.words": rng.random((1, 2, info.tokens)),
        "loss.rest": np.ones((1, 2, info.tokens)),
        "loss.masks": masks,
        "loss.weights": np.array([[[1.5, -0.5], [0.25, 2.0]]]),
        "loss.sites": np.array([1.0, 1.0, 0.0]),
    }
    source = {"source.text": plain["text"], **recorded}
    return {name: _as(v, dtype) for name, v in {**plain, **routed, **loss, **source}.items()}


def _as(value: Any, dtype: Any) -> Any:
    return value.astype(dtype) if value.dtype.kind == "f" else value


def loss(of: GuidedFakeEngine, given: dict[str, Any]) -> float:
    return float((of.gradient(given).losses * given["loss.weights"]).sum())


def test_it_is_the_slope_in_any_direction(tmp_path: Path):
    made = engine(tmp_path)
    given = ports(made)
    slope = made.gradient(given).latents
    for seed in range(3):
        way = np.random.default_rng(seed).standard_normal(slope.shape)
        near = ({**given, "sample": given["sample"] + by * way} for by in (1e-5, -1e-5))
        up, down = (loss(made, one) for one in near)
        np.testing.assert_allclose((slope * way).sum(), (up - down) / 2e-5, rtol=1e-6)


def test_single_precision_differs_by_its_rounding_alone(tmp_path: Path):
    exact = engine(tmp_path / "a")
    rough = engine(tmp_path / "b", "fp32")
    found = rough.gradient(ports(rough, np.float32))
    assert found.latents.dtype == found.losses.dtype == np.float32
    wanted = exact.gradient(ports(exact))
    np.testing.assert_allclose(found.latents, wanted.latents, atol=1e-5)
    np.testing.assert_allclose(found.losses, wanted.losses, atol=1e-5)


def test_every_port_of_a_loss_has_effect(tmp_path: Path):
    """The probe that the host makes of any engine."""
    session = fake_session(tmp_path, GuidedFakeEngine)
    require_effect(session, "loss")
    assert session.rows["gradient"] > 1


@pytest.mark.thorough
def test_its_terms_are_those_of_torch(tmp_path: Path):
    """On the same maps; nothing of the formula is shared."""
    import torch

    from scumble_engines.torch.losses import Losses

    made = engine(tmp_path)
    given = ports(made)
    seen: dict[int, Any] = {}

    class Kept(Pass):
        def _read(self, site: Site, maps: Any) -> None:
            seen[site.index] = site, torch.from_numpy(maps[:1])

    Kept(given, made_weights()).run()
    gate = torch.from_numpy(given["loss.sites"] / given["loss.sites"].sum())
    words, rest, masks = (torch.from_numpy(given[f"loss.{n}"]) for n in ("words", "rest", "masks"))
    terms = Losses(words, rest, masks, gate, frozenset(range(3)))
    for index in np.flatnonzero(given["loss.sites"]):
        terms.see(*seen[int(index)])
    assert terms.seen is not None
    np.testing.assert_allclose(made.gradient(given).losses, terms.seen.numpy(), rtol=1e-12)
