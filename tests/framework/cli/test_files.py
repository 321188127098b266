import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.cli.files import check_folder, check_outputs, result_paths, slugs, write_beside
from scumble.errors import OptionError

GREY = Image.new("RGB", (4, 4), "grey")


def test_results_are_where_a_run_saves_them():
    assert result_paths(Path("a/out.PNG"), 3) == [
        Path("a/out.PNG"),
        Path("a/out-2.PNG"),
        Path("a/out-3.PNG"),
    ]


def test_outputs_that_can_be_written(tmp_path: Path):
    (tmp_path / "old.png").touch()
    outputs = [("--out", tmp_path / "new.png"), ("--strip", tmp_path / "old.png")]
    check_outputs(outputs, [tmp_path / "in.png", None])


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("out.jpg", "name it .png"),
        ("out", "name it .png"),
        ("no/out.png", "there is no folder"),
        ("folder.png", "is a folder"),
        ("in.png", "the file that is read"),
        ("sub/../in.png", "the file that is read"),
        ("link.png", "the file that is read"),
    ],
)
def test_outputs_that_cannot(tmp_path: Path, name: str, why: str):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "sub").mkdir()
    (tmp_path / "in.png").touch()
    (tmp_path / "link.png").symlink_to("in.png")
    with pytest.raises(OptionError, match=why):
        check_outputs([("--out", tmp_path / name)], [tmp_path / "in.png"])


def test_two_outputs_of_one_path(tmp_path: Path):
    twice = [("--out", tmp_path / "a.png"), ("--strip", tmp_path / "a.png")]
    with pytest.raises(OptionError, match="written by --out too"):
        check_outputs(twice)


def test_a_folder_that_is_not_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OptionError, match="may not write"):
        check_outputs([("--out", tmp_path / "a.png")])
    with pytest.raises(OptionError, match="may not write"):
        check_folder("--out", tmp_path)


def test_folders(tmp_path: Path):
    (tmp_path / "file").touch()
    check_folder("--out", tmp_path)
    check_folder("--out", tmp_path / "new")
    with pytest.raises(OptionError, match="is a file"):
        check_folder("--out", tmp_path / "file")
    with pytest.raises(OptionError, match="there is no folder"):
        check_folder("--out", tmp_path / "no" / "new")


def test_all_are_written(tmp_path: Path):
    write_beside({tmp_path / "a.png": GREY, tmp_path / "b.png": GREY})
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException):
    (tmp_path / "result.png").touch()
    replace = os.replace

    def full(part: Path, path: Path) -> None:
        if path.name == "b.png":
            raise error
        replace(part, path)

    monkeypatch.setattr(os, "replace", full)
    expected: Any = OptionError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_beside(
            {tmp_path / "a.png": GREY, tmp_path / "b.png": GREY}, [tmp_path / "result.png"]
        )
    assert os.listdir(tmp_path) == []


def test_file_names_of_words():
    words = ["cat", "red cat", "red/cat", "../..", "Ключ", "a" * 99]
    assert slugs(words) == ["cat", "red-cat", "red-cat--2", "word", "Ключ", "a" * 60]
