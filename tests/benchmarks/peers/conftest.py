"""The tiny checkpoint, loaded by Scumble and by what it is compared with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path

import pytest

from scumble import Editor
from scumble_bench.peers.reference_p2p import ReferenceP2P

write_checkpoint: Callable[..., Path] = run_path(
    str(Path(__file__).parents[2] / "tiny_checkpoint.py")
)["write_checkpoint"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: two levels and a middle, pictures of 64x64, a map stride of 2."""
    return write_checkpoint(tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="session")
def reference(tiny: Path) -> ReferenceP2P:
    return ReferenceP2P.load(tiny)


@pytest.fixture(scope="session")
def editor(tiny: Path) -> Iterator[Editor]:
    with Editor.load(tiny, device="cpu") as loaded:
        yield loaded
