"""The mirror: its columns, and what is said of an entry that is wrong."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from scumble.errors import OptionError
from scumble_bench.evaluation.parquet_mirror import COLUMNS, load_mirror

FILE = "4_change_attribute_content_40/V1-00000-of-00001.parquet"


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (512, 512), (10, 20, 30)).save(data, "PNG")
    return data.getvalue()


def row(**fields: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "image": {"bytes": png(), "path": "4.png"},
        "id": "400000000000",
        "source_prompt": "a [happy] cat",
        "target_prompt": "a [sad] cat",
        "edit_action": "{}",
        "aspect_mapping": "{}",
        "blended_words": '["cat,cat"]',
        "mask": "0 5 512 2",
    }
    return {name: value for name, value in (given | fields).items() if value is not ...}


def mirror(folder: Path, *rows: dict[str, Any]) -> Path:
    (folder / FILE).parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / FILE)
    return folder


def test_everything_of_an_entry_is_read(tmp_path: Path):
    (found,) = load_mirror(mirror(tmp_path, row()))
    assert (found.id, found.kind) == ("400000000000", "4")
    assert (found.source, found.target) == ("a happy cat", "a sad cat")
    assert (found.words, found.runs) == (("cat", "cat"), (0, 5, 512, 2))
    assert found.read()[0, 0].tolist() == [10, 20, 30]


def test_only_the_named_columns_are_needed(tmp_path: Path):
    only = {name: value for name, value in row().items() if name in COLUMNS}
    assert len(load_mirror(mirror(tmp_path, only))) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", None),
        ("", None),
        (None, None),
        ('["cat,dog", "red,blue"]', ("cat", "dog")),
        ('["cat, dog"]', ("cat", "dog")),
        ('["cat,"]', None),
        ('[",dog"]', None),
    ],
)
def test_the_first_pair_of_words_counts(
    tmp_path: Path, text: str | None, words: tuple[str, str] | None
):
    # A column of nothing has no type; a second row gives it one.
    made = mirror(tmp_path, row(blended_words=text), row(id="2"))
    assert load_mirror(made)[0].words == words


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"blended_words": "cat dog"}, "its blended_words are 'cat dog'"),
        ({"blended_words": "[1]"}, "its blended_words are"),
        ({"blended_words": '["cat"]'}, "its blended word is 'cat' alone"),
        ({"mask": "0 five"}, "its mask is '0 five'"),
        ({"mask": "0 5 1"}, "its mask cannot be read"),
        ({"mask": None}, "its mask is None"),
        ({"image": {"bytes": None, "path": "x"}}, "its image holds no bytes"),
        ({"source_prompt": ""}, "its source prompt is ''"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, fields: dict[str, Any], said: str):
    made = mirror(tmp_path, row(), row(id="400000000001", **fields))
    with pytest.raises(OptionError, match=rf"entry '400000000001': {said}"):
        load_mirror(made)


def test_an_entry_without_an_id_is_named_by_its_row(tmp_path: Path):
    with pytest.raises(OptionError, match="row 1: its id is None"):
        load_mirror(mirror(tmp_path, row(), row(id=None)))


def test_a_missing_column_and_a_broken_file(tmp_path: Path):
    made = mirror(tmp_path, row(mask=...))
    with pytest.raises(OptionError, match="has no column 'mask'; wanted are image, id"):
        load_mirror(made)
    (made / FILE).write_bytes(b"PAR1")
    with pytest.raises(OptionError, match="cannot be read as parquet"):
        load_mirror(made)
