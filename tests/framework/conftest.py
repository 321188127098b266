"""Shared by the host's tests: a fake model, a fake pack, a picture."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest

from scumble.engine import Gradient
from scumble.models import Checkpoint
from scumble.packs import MANIFEST
from scumble.ports import Group
from scumble.session import Session
from scumble.testing import FakeEngine, fake_checkpoint, fake_session
from scumble.testing.fake_engine import SITES

Install = Callable[..., None]
COMPONENTS = ("text_encoder", "vae_encoder", "vae_decoder")


class Quadratic(FakeEngine):
    """The fake engine, with gradients of a loss that can be solved by hand.

    A term's token term is half the squared distance of the latent from the sum of its words, and
    its space ratio the sum of the latent inside its mask. Where the row takes from the source, what
    the source told is added to the words.
    """

    name = "quadratic"
    groups: ClassVar[frozenset[Group]] = frozenset((*FakeEngine.groups, "loss"))

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.asked: list[dict[str, Any]] = []

    def _gradient(self, ports: Mapping[str, Any]) -> Gradient:
        self.asked.append(dict(ports))
        latent = ports["sample"][0]
        weights, words, masks = (ports[f"loss.{part}"][0] for part in ("weights", "words", "masks"))
        wanted = words.sum(axis=1)
        if ports["route"].any() or ports["mix.row"].any():
            told = (value for name, value in ports.items() if name.startswith("source."))
            wanted = wanted + sum(np.abs(value).mean() for value in told)
        away = latent - wanted[:, None, None, None]
        inside = np.broadcast_to(masks[:, None], away.shape)
        axes = (1, 2, 3)
        losses = np.stack([(away**2).sum(axes) / 2, (latent * inside).sum(axes)], axis=-1)
        slope = np.tensordot(weights[:, 0], away, 1) + np.tensordot(weights[:, 1], inside, 1)
        return Gradient(slope[None], losses[None])


class Differing(FakeEngine):
    """The fake engine, with the gradient of a match by central differences."""

    name = "differing"
    groups: ClassVar[frozenset[Group]] = frozenset((*FakeEngine.groups, "match"))

    def _losses(self, ports: Mapping[str, Any]) -> npt.NDArray[np.floating]:
        plain = {name: port for name, port in ports.items() if not name.startswith("match.")}
        away = self._step(plain).noise - ports["match.noise"]
        return ports["match.weight"] * (away**2).mean(axis=(1, 2, 3))

    def _slope(self, row: Mapping[str, Any], name: str) -> npt.NDArray[np.floating]:
        """The derivative of one row's loss by a port, every difference a row of one step."""
        size, tiny = row[name].size, 1e-5
        ways = np.concatenate([np.eye(size), -np.eye(size)]).reshape(-1, *row[name].shape[1:])
        many = {other: np.repeat(port, 2 * size, axis=0) for other, port in row.items()}
        ahead, behind = self._losses({**many, name: row[name] + tiny * ways}).reshape(2, size)
        return ((ahead - behind) / (2 * tiny)).reshape(row[name].shape[1:])

    def _gradient(self, ports: Mapping[str, Any]) -> Gradient:
        count = len(ports["sample"])
        rows = [{name: port[i : i + 1] for name, port in ports.items()} for i in range(count)]
        by_sample, by_text = (
            np.stack([self._slope(row, name) for row in rows]) for name in ("sample", "text")
        )
        return Gradient(by_sample, self._losses(ports), by_text)


@pytest.fixture
def matching(tmp_path: Path) -> Session:
    """A fake model on an engine with the gradient of a match, in float64."""
    return fake_session(tmp_path / "matching model", Differing)


@pytest.fixture(scope="session")
def quadratic() -> type[FakeEngine]:
    """An engine with gradients."""
    return Quadratic


@pytest.fixture
def guided(tmp_path: Path) -> Session:
    """A fake model on an engine with gradients, in float64."""
    return fake_session(tmp_path / "guided model", Quadratic)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A fake model on the fake engine, in float64."""
    return fake_session(tmp_path / "model")


@pytest.fixture
def fake_pack() -> Callable[..., Path]:
    """Write a folder that looks like a pack, of a checkpoint if one is given; graphs are text."""

    def write(folder: Path, source: Checkpoint | None = None) -> Path:
        fake_checkpoint(folder)
        for part in ("unet", "vae", "text_encoder"):
            shutil.rmtree(folder / part)
        (folder / "model_index.json").unlink()
        (folder / "unet.plain.onnx").write_text("plain")
        (folder / "unet.all.onnx").write_text("all")
        for name in COMPONENTS:
            (folder / f"{name}.onnx").write_text(name)
        groups = ["route", "mix", "read"]
        manifest = {
            "precision": "fp32",
            "opset": 23,
            "latent": SITES.native,
            "native": SITES.native,
            "channels": 4,
            "factor": 8,
            "tokens": 77,
            "features": 16,
            "rows": (1, 8),
            "words": 2,
            "read_strides": (1,),
            "sites": [asdict(site) for site in SITES],
            "variants": {
                "all": {"file": "unet.all.onnx", "groups": groups, "parity": 1e-6},
                "plain": {"file": "unet.plain.onnx", "groups": [], "parity": 1e-6},
            },
            "components": {name: f"{name}.onnx" for name in COMPONENTS},
            "source": "" if source is None else source.fingerprint(),
            "versions": {"scumble": "0"},
            "files": {
                path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in folder.rglob("*")
                if path.is_file()
            },
        }
        (folder / MANIFEST).write_text(json.dumps(manifest))
        return folder

    return write


@pytest.fixture(scope="session")
def picture() -> npt.NDArray[np.uint8]:
    """A picture of 64x64 pixels, no two of its cells alike."""
    rng = np.random.default_rng(5)
    return rng.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)


@pytest.fixture
def fake_engine(install: Install) -> None:
    """Register the fake engine, as a distribution would."""
    entries = {"scumble.engines": {"fake": "scumble.testing.fake_engine:FakeEngine"}}
    install("fake-engines", entries)
