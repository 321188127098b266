"""For every test of the benchmarks: one thread, so that two runs agree; and the demo's pack."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from scumble_bench.rooms import CHECKPOINT


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint with its pack; where it has none, a copy that gets one."""
    if (CHECKPOINT / "pack").is_dir():
        return CHECKPOINT
    from scumble_bench.rooms.pack import write_pack

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "rooms"
    with (shared / "rooms.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.copytree(CHECKPOINT, folder)
        if not (folder / "pack").exists():
            write_pack(folder, variants=("plain", "reading"))
    return folder
