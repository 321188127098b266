"""Archives on disk: whole or not there, and apart by model."""

import os
from pathlib import Path

import numpy as np
import pytest

from scumble.source_folder import SourceFolder

ARRAYS = {"source.down.0": np.arange(6.0).reshape(1, 2, 3), "source.up": np.ones(2, np.float16)}


@pytest.fixture
def folder(tmp_path: Path) -> SourceFolder:
    return SourceFolder(tmp_path / "sources", "a model")


def test_what_is_written_is_read(folder: SourceFolder):
    folder.write("key", "3", ARRAYS)
    found = folder.read("key", "3")
    assert found is not None
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert folder.names("key") == {"3"}


def test_another_model_sees_none_of_it(folder: SourceFolder, tmp_path: Path):
    folder.write("key", "3", ARRAYS)
    other = SourceFolder(tmp_path / "sources", "another model")
    assert other.read("key", "3") is None
    assert other.names("key") == set()


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.9])
def test_a_cut_archive_is_removed(folder: SourceFolder, tmp_path: Path, keep: float):
    folder.write("key", "3", ARRAYS)
    (path,) = tmp_path.rglob("*.npz")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    assert folder.read("key", "3") is None
    assert not path.exists()


def test_a_pickle_is_not_run(folder: SourceFolder, tmp_path: Path):
    folder.write("key", "3", ARRAYS)
    (path,) = tmp_path.rglob("*.npz")
    np.savez(path, evil=np.array([print], dtype=object))
    assert folder.read("key", "3") is None


def test_a_write_that_fails_leaves_nothing(
    folder: SourceFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    folder.write("key", "3", ARRAYS)
    assert folder.read("key", "3") is None
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
