"""Shared by the host's tests: a fake model, a fake pack, a picture, distributions made up."""

import hashlib
import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
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
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution for one test: its metadata, entry points and modules."""
    known = set(sys.modules)
    count = 0

    def make(
        distribution: str,
        entries: Mapping[str, Mapping[str, str]] | str,
        modules: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> None:
        nonlocal count
        count += 1
        site = tmp_path / f"site{count}"
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata)
        if not isinstance(entries, str):
            entries = "\n".join(
                f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in table.items())
                for group, table in entries.items()
            )
        (info / "entry_points.txt").write_text(entries)
        for module, source in (modules or {}).items():
            (site / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(site))
        importlib.invalidate_caches()

    yield make
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def fake_engine(install: Install) -> None:
    """Register the fake engine, as a distribution would."""
    entries = {"scumble.engines": {"fake": "scumble.testing.fake_engine:FakeEngine"}}
    install("fake-engines", entries)
