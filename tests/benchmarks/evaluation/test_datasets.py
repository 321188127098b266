"""Either layout gives the same entries; anything else is told what is wanted."""

import shutil
from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.datasets import fingerprint, load_entries


def test_both_layouts_of_the_made_set_agree(made_set: dict[str, Path]):
    folder, mirror = (load_entries(made_set[name]) for name in ("folder", "parquet"))
    assert len(folder) == 20
    assert folder == mirror
    assert fingerprint(folder) == fingerprint(mirror)
    for one, other in zip(folder, mirror, strict=True):
        assert (one.read() == other.read()).all()


def test_the_inner_folder_of_the_archive_is_found(made_set: dict[str, Path], tmp_path: Path):
    shutil.copytree(made_set["folder"], tmp_path / "data")
    assert load_entries(tmp_path) == load_entries(made_set["folder"])


def test_a_fingerprint_is_of_everything_that_is_asked(made_set: dict[str, Path]):
    entries = load_entries(made_set["folder"])
    assert fingerprint(entries[1:]) != fingerprint(entries)
    assert fingerprint([*entries[1:], entries[0]]) != fingerprint(entries)


def test_neither_layout(tmp_path: Path):
    with pytest.raises(OptionError, match=r"neither mapping_file.json nor .* --make-set FOLDER"):
        load_entries(tmp_path)
