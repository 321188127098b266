"""What holds for every test: no network, few threads, one seed, a cache folder of its own.

And what several areas need: models, and distributions made up for one test.
"""

import fcntl
import importlib
import os
import random
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

SEED = 20240607
Install = Callable[..., Path]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers share the cores. Read when torch is loaded, and by what a test starts.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `gpu` where there is no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the session its own cache folder, and no way out of this machine."""
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(f"a test tried to reach {address}; tests use no network")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(socket.socket, "connect", local_only)
        yield


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Seed every generator that is loaded."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(SEED)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of random weights, quick to export."""
    tiny = run_path(str(Path(__file__).parent / "tiny_checkpoint.py"))
    return tiny["write_checkpoint"](tmp_path_factory.mktemp("small"), unet=tiny["SMALL"])


@pytest.fixture(scope="session")
def pack(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` as a pack with every variant; made once, also where several workers run."""
    from scumble.models import find_checkpoint
    from scumble_export.pack import export_pack

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "pack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "pack").exists():
            export_pack(find_checkpoint(small), shared / "pack")
    return shared / "pack"


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
    ) -> Path:
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
        return site

    yield make
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
