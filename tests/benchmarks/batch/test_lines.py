"""Lists as files: what each line says, and what is wrong with it."""

from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble_bench.batch.lines import FIELDS, Line, Problem, read_list


def read(tmp_path: Path, name: str, text: str) -> tuple[list[Line], list[Problem]]:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_list(path)


def test_the_fields_are_those_of_an_edit_and_a_few_more():
    assert {"picture", "target", "mask", "out", "recipe", "inversion", "masking"} <= set(FIELDS)
    assert "targets" not in FIELDS
    assert len(set(FIELDS)) == len(FIELDS)


class TestJson:
    def test_an_object_a_line(self, tmp_path: Path):
        text = '\ufeff{"seed": 1}\r\n\n  \n{"target": ["a", "b\u2028c"]}\n'
        lines, problems = read(tmp_path, "list.jsonl", text)
        assert lines == [Line(1, {"seed": 1}), Line(4, {"target": ["a", "b\u2028c"]})]
        assert problems == []

    def test_every_bad_line_is_told_with_its_number(self, tmp_path: Path):
        text = '{"seed": 1\n{"seed": 2}\n[3]\n{"guidance": NaN}\n{"sead": 5}'
        lines, problems = read(tmp_path, "list.jsonl", text)
        assert lines == [Line(2, {"seed": 2})]
        assert [problem.number for problem in problems] == [1, 3, 4, 5]
        said = [problem.said for problem in problems]
        assert said[0].startswith("is no JSON (")
        assert said[1] == "is no JSON object; write {...}."
        assert said[2] == "is no JSON (NaN is no number)."
        assert said[3].startswith("has the field 'sead'; known are: picture, source, ")


class TestCsv:
    def test_an_empty_cell_says_nothing(self, tmp_path: Path):
        text = "picture,source, seed \ncat.png,a cat,\n,,\n dog.png,a dog,7\n"
        lines, problems = read(tmp_path, "list.csv", text)
        assert problems == []
        assert lines == [
            Line(2, {"picture": "cat.png", "source": "a cat"}),
            Line(4, {"picture": " dog.png", "source": "a dog", "seed": "7"}),
        ]

    def test_a_cell_may_span_lines_and_the_next_number_is_right(self, tmp_path: Path):
        lines, _ = read(tmp_path, "list.csv", 'source,seed\n"a\ncat",1\na dog,2\n')
        assert lines == [
            Line(2, {"source": "a\ncat", "seed": "1"}),
            Line(4, {"source": "a dog", "seed": "2"}),
        ]

    def test_lists_and_tables_are_json(self, tmp_path: Path):
        text = (
            "target,mask,size,inversion_options,options\n"
            '"[""a"", ""b""]","{""x"": ""x.png""}","[8, 16]","{""a"": 1}","{""b"": [2]}"\n'
            "[a,m.png,,,\n"
        )
        lines, problems = read(tmp_path, "list.csv", text)
        assert lines == [
            Line(
                2,
                {
                    "target": ["a", "b"],
                    "mask": {"x": "x.png"},
                    "size": [8, 16],
                    "inversion_options": {"a": 1},
                    "options": {"b": [2]},
                },
            )
        ]
        assert [problem.number for problem in problems] == [3]
        assert problems[0].said.startswith("target is '[a', which is no JSON")

    def test_options_are_columns_as_set_takes_them(self, tmp_path: Path):
        text = (
            "method,options.blend_words,options.mode,options.reweight.red\n"
            'prompt_to_prompt,"cat,dog",refine,\n'
            ",,,2\n"
        )
        lines, problems = read(tmp_path, "list.csv", text)
        assert problems == []
        assert lines[0].fields["options"] == {"blend_words": ["cat", "dog"], "mode": "refine"}
        assert lines[1].fields["options"] == {"reweight": {"red": 2}}

    @pytest.mark.parametrize(
        ("text", "number", "said"),
        [
            ("seed,seed\n1,2\n", 1, "names a column twice."),
            ("seed\n1\n1,2\n", 3, "has 2 cells and the heading 1."),
            ('seed\n"1\n', 2, "is no CSV ("),
            ("seed,options,options.mode\n1,{},x\n", 2, "options and options.NAME are both"),
            ("method,options.mode\nnope,x\n", 2, "no plugin 'nope'"),
            ("sead\n1\n", 2, "has the field 'sead'"),
        ],
    )
    def test_what_is_wrong(self, tmp_path: Path, text: str, number: int, said: str):
        _, problems = read(tmp_path, "list.csv", text)
        assert [problem.number for problem in problems] == [number]
        assert problems[0].said.startswith(said)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.txt", "{}", "is a .jsonl or a .csv"),
        ("list.jsonl", "\n", "has no edit in it"),
        ("list.csv", "source,target\n", "has no edit in it"),
    ],
)
def test_what_is_no_list(tmp_path: Path, name: str, text: str, said: str):
    with pytest.raises(OptionError, match=said):
        read(tmp_path, name, text)


def test_what_cannot_be_read(tmp_path: Path):
    with pytest.raises(OptionError, match=r"cannot be read \(No such file"):
        read_list(tmp_path / "gone.jsonl")
    (tmp_path / "list.csv").write_bytes(b"source\n\xff\xfe\n")
    with pytest.raises(OptionError, match=r"cannot be read \(.*; name a list in UTF-8"):
        read_list(tmp_path / "list.csv")
