import errno
from pathlib import Path

import pytest

from scumble_bench.reports.files import write_all


def test_files_are_written_and_their_paths_returned(tmp_path: Path):
    paths = write_all(tmp_path / "new", {"b": b"2", "a": b"1"}, ())
    assert paths == [tmp_path / "new" / "b", tmp_path / "new" / "a"]
    assert [path.read_bytes() for path in paths] == [b"2", b"1"]


def test_what_an_earlier_report_left_goes_and_what_is_not_ours_stays(tmp_path: Path):
    for name in ("stale", "foreign"):
        (tmp_path / name).write_bytes(b"old")
    write_all(tmp_path, {"new": b"1"}, ("new", "stale", "never there"))
    assert {path.name for path in tmp_path.iterdir()} == {"new", "foreign"}


def test_a_full_disk_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "one").write_bytes(b"old")
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        if b"second" in data:
            write(self, data[:2])
            raise OSError(errno.ENOSPC, "no space left")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_all(tmp_path, {"one": b"first", "two": b"second"}, ("one", "two"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"old"}


def test_who_reads_the_old_file_reads_all_of_it(tmp_path: Path):
    (tmp_path / "one").write_bytes(b"the old content")
    with (tmp_path / "one").open("rb") as old:
        write_all(tmp_path, {"one": b"new"}, ())
        assert old.read() == b"the old content"
    assert (tmp_path / "one").read_bytes() == b"new"
