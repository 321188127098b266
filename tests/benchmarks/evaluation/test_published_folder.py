"""The published folder: what is read, and what is said of an entry that is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.errors import OptionError
from scumble_bench.evaluation.published_folder import MAPPING, PICTURES, load_folder

ID = "000000000003"


def entry(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "image_path": "0_random_140/3.jpg",
        "original_prompt": "a [cat] on a mat",
        "editing_prompt": "a [dog] on a mat",
        "editing_instruction": "turn the cat into a dog",
        "editing_type_id": "0",
        "blended_word": "cat dog",
        "mask": [0, 5],
    }
    return {name: value for name, value in (given | fields).items() if value is not ...}


def folder(path: Path, *entries: dict[str, Any]) -> Path:
    (path / PICTURES / "0_random_140").mkdir(parents=True)
    Image.new("RGB", (512, 512), (10, 20, 30)).save(path / PICTURES / "0_random_140/3.jpg")
    table = {str(int(ID) + n).zfill(12): given for n, given in enumerate(entries)}
    (path / MAPPING).write_text(json.dumps(table))
    return path


def test_everything_of_an_entry_is_read(tmp_path: Path):
    (found,) = load_folder(folder(tmp_path, entry()))
    assert (found.id, found.kind) == (ID, "0")
    assert (found.source, found.target) == ("a cat on a mat", "a dog on a mat")
    assert (found.words, found.runs) == (("cat", "dog"), (0, 5))
    pixels = found.read()
    assert pixels.shape == (512, 512, 3)
    assert np.abs(pixels[0, 0].astype(int) - (10, 20, 30)).max() < 4


def test_no_blended_word_is_none(tmp_path: Path):
    made = folder(tmp_path, entry(blended_word=""), entry(blended_word=...))
    assert [one.words for one in load_folder(made)] == [None, None]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"mask": ...}, "it has no 'mask'"),
        ({"editing_prompt": ...}, "it has no 'editing_prompt'"),
        ({"image_path": "nowhere.jpg"}, "nowhere.jpg' is not there"),
        ({"mask": "0 5"}, "its mask is '0 5', and a list of numbers is wanted"),
        (
            {"blended_word": ["cat", "dog"]},
            r"its blended_word is \['cat', 'dog'\], and text is wanted",
        ),
        ({"mask": [0]}, "its mask cannot be read"),
        ({"editing_type_id": "x"}, "its type is 'x'"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, fields: dict[str, Any], said: str):
    made = folder(tmp_path, entry(), entry(**fields))
    with pytest.raises(OptionError, match=r"entry '000000000004': .*" + said):
        load_folder(made)


def test_what_is_no_table(tmp_path: Path):
    made = folder(tmp_path)
    with pytest.raises(OptionError, match="holds no entry"):
        load_folder(made)
    (made / MAPPING).write_text("[]")
    with pytest.raises(OptionError, match="no table of entries by id"):
        load_folder(made)
    (made / MAPPING).write_text("{")
    with pytest.raises(OptionError, match="cannot be read as JSON"):
        load_folder(made)
    (made / MAPPING).write_text('{"1": 2}')
    with pytest.raises(OptionError, match="entry '1': it is no table"):
        load_folder(made)
