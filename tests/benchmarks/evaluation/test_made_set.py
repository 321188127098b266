"""The set on disk: both layouts, true masks at 512 pixels, the same bytes every time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.datasets import load_entries
from scumble_bench.evaluation.made_edits import made_edits
from scumble_bench.evaluation.made_set import id_of, write_set


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_is_always_the_same(tmp_path: Path):
    one, other = (tmp_path / name for name in ("one", "other"))
    write_set(one, each=1)
    write_set(other, each=1)
    assert hashes(one) == hashes(other)
    assert len(hashes(one)) == 1 + 10 + 10


def test_masks_are_those_of_the_edits(made_set: dict[str, Path]):
    entries = load_entries(made_set["folder"])
    for entry, edit in zip(entries, made_edits(), strict=True):
        large = edit.mask.repeat(4, 0).repeat(4, 1)
        assert (entry.mask == large).all()


def test_pictures_are_the_drawings_four_times_as_large(made_set: dict[str, Path]):
    entry, edit = load_entries(made_set["folder"])[0], made_edits(1)[0]
    found = entry.read()[::4, ::4].astype(int)
    assert found.shape == edit.before.shape
    assert np.abs(found - edit.before).mean() < 3, "JPEG of quality 95"


def test_ids_are_twelve_digits(made_set: dict[str, Path]):
    entries = load_entries(made_set["parquet"])
    assert [entry.id for entry in entries[:3]] == [id_of("0", 0), id_of("0", 1), id_of("1", 0)]
    assert {len(entry.id) for entry in entries} == {12}
    assert all(entry.id.isdigit() for entry in entries)


def test_what_is_there_is_not_written_over(tmp_path: Path):
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(OptionError, match="is there already"):
        write_set(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(OptionError, match="is there already"):
        write_set(tmp_path / "mine")
