"""Every line is looked over before anything runs, and every bad one is told."""

from pathlib import Path
from typing import Any

import pytest

from scumble.errors import PromptError
from scumble_bench.batch.edits import Edit, check_lines
from scumble_bench.batch.lines import Line, Problem


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def encode(text: str) -> None:
    if "zebra" in text:
        raise PromptError("there is no zebra.")


def check(lists: Path, out: Path, *fields: dict[str, Any]) -> tuple[list[Edit], list[Problem]]:
    lines = [Line(number, one) for number, one in enumerate(fields, 1)]
    return check_lines(lines, lists, out, encode)


def test_an_edit_knows_its_files_and_names(lists: Path, out: Path, cat: dict[str, Any]):
    masks = {"": "left.png", "sky": "right.png"}
    (one, two, three), problems = check(
        lists,
        out,
        {**cat, "mask": masks, "method": "blended_latent_diffusion"},
        {**cat, "target": ["a cat", "a dog"], "out": "two.png", "mask": "left.png"},
        {"source": "a cat", "target": "a dog", "seed": "7"},
    )
    assert problems == []
    assert (one.number, one.name, one.results) == (1, "edit-0001", ["edit-0001.png"])
    assert one.picture is not None
    assert one.picture.path == (lists / "cat.png").resolve()
    assert {name: file.path.name for name, file in one.masks.items()} == masks
    assert two.results == ["two.png", "two-2.png"]
    assert two.masks[""] == one.masks[""]
    assert two.picture == one.picture
    assert (three.picture, three.request.seed, three.request.steps) == (None, 7, 50)


def test_a_picture_may_go_without_words(lists: Path, out: Path, cat: dict[str, Any]):
    (edit,), problems = check(lists, out, {**cat, "source": ""})
    assert (edit.request.source, problems) == ("", [])
    _, (problem,) = check(lists, out, {"source": "", "target": "a cat"})
    assert problem.said.startswith("the prompt is empty")


@pytest.mark.parametrize(("method", "inverts"), [("masactrl", False), ("edit_friendly", True)])
def test_methods_that_lead_to_noise_by_themselves_are_known(
    lists: Path, out: Path, cat: dict[str, Any], method: str, inverts: bool
):
    (edit,), _ = check(lists, out, {**cat, "method": method})
    assert edit.inverts is inverts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": None}, "source or target is missing"),
        ({"target": []}, "an edit: targets is []"),
        ({"target": "  "}, "the prompt is empty"),
        ({"target": "a zebra"}, "there is no zebra."),
        ({"negative": "a zebra"}, "there is no zebra."),
        ({"steps": 0}, "an edit: steps is 0"),
        ({"seed": "x"}, "an edit: seed is 'x'"),
        ({"picture": 3}, "picture is 3; give the path of a file."),
        ({"picture": "gone.png"}, "gone.png' does not exist"),
        ({"picture": None, "mask": "left.png"}, "a mask needs a picture"),
        ({"mask": "gone.png"}, "gone.png' does not exist"),
        ({"mask": {"": 3}}, "mask is 3"),
        ({"method": "nope"}, "no plugin 'nope'"),
        ({"options": {"nope": 1}}, "plugin 'prompt_to_prompt' has no option 'nope'"),
        ({"inversion": "nope"}, "no plugin 'nope'"),
        ({"method": "edit_friendly", "inversion": "ddim"}, "edit_friendly leads the picture"),
        ({"masking": "diffedit", "mask": "left.png"}, "a mask is given, and masking would"),
        ({"out": "a/b"}, "out is 'a/b'; give a file name without folders"),
        ({"out": ".hidden"}, "out is '.hidden'"),
        ({"out": 3}, "out is 3"),
        ({"out": ".png"}, "out is '.png'"),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_looked_at(
    lists: Path, out: Path, cat: dict[str, Any], change: dict[str, Any], said: str
):
    edits, (problem,) = check(lists, out, cat, {**cat, **change}, cat)
    assert [edit.number for edit in edits] == [1, 3]
    assert problem.number == 2
    assert said in problem.said
    assert problem.said.endswith(".")


def test_all_problems_are_told(lists: Path, out: Path, cat: dict[str, Any]):
    _, problems = check(lists, out, {**cat, "steps": 0}, cat, {**cat, "method": "nope"})
    assert [problem.number for problem in problems] == [1, 3]


@pytest.mark.parametrize("name", ["same", "SAME.png"])
def test_two_results_of_one_name(lists: Path, out: Path, cat: dict[str, Any], name: str):
    _, (problem,) = check(lists, out, {**cat, "out": "same"}, cat, {**cat, "out": name})
    assert problem.number == 3
    assert problem.said.endswith("is written by line 1 too; name another out.")


def test_further_results_count_too(lists: Path, out: Path, cat: dict[str, Any]):
    several = {**cat, "target": ["a cat", "a dog"], "out": "x"}
    for lines in ([several, {**cat, "out": "x-2"}], [{**cat, "out": "x-2"}, several]):
        _, (problem,) = check(lists, out, *lines)
        assert problem.said == "'x-2.png' is written by line 1 too; name another out."


def test_a_result_does_not_replace_what_it_is_made_from(lists: Path, cat: dict[str, Any]):
    for name, file in (("cat", "cat.png"), ("left", "left.png")):
        _, (problem,) = check(lists, lists, {**cat, "mask": "left.png", "out": name})
        assert problem.said == f"'{file}' is a file that it reads; name another out."


def test_paths_are_seen_from_the_list(
    lists: Path, out: Path, cat: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    (lists.parent / "elsewhere").mkdir()
    monkeypatch.chdir(lists.parent / "elsewhere")
    edits, _ = check(Path("../lists"), out, cat)
    assert edits[0].picture is not None
    assert edits[0].picture.path == (lists / "cat.png").resolve()
