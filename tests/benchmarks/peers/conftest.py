"""The tiny checkpoint, loaded by Scumble and by what it is compared with."""

from collections.abc import Callable, Iterator
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import pytest

from scumble import Editor
from scumble.arrays import Array
from scumble_bench.peers.peer import Work
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
    with Editor.load(tiny, engine="torch", device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def exact(tiny: Path) -> Iterator[Editor]:
    """The same in float64, where two orders of the same arithmetic are 1e-13 apart."""
    with Editor.load(tiny, engine="torch", precision="fp64", device="cpu") as loaded:
        yield loaded


@pytest.fixture(scope="session")
def picture() -> Array:
    smooth = np.add.outer(np.arange(32), np.arange(32))
    return np.stack([4 * smooth, 255 - smooth, 128 + 0 * smooth], axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def work() -> Callable[..., Work]:
    """Makes four steps of work for a peer's method, on the `picture`."""

    def made(method: str, **changed: Any) -> Work:
        given: dict[str, Any] = {"method": method, "target": "a blue cat on a sofa"}
        if method != "generate":
            given["source"] = "a red cat on a sofa"
        if method == "mag_edit":
            inside = np.zeros((32, 32), bool)
            inside[8:24, 8:24] = True
            given["mask"] = inside
            # As strong as it takes for an update to tell with random weights.
            given["options"] = {"words": ("blue",), "iterations": 2, "scale": 200.0}
        return Work(**{**given, "steps": 4, "size": (32, 32), **changed})

    return made
