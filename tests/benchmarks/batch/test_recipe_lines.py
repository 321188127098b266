"""A PNG that Scumble wrote stands for the edit that made it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.errors import ImageError, ScumbleError
from scumble.recipes import write_picture
from scumble.requests import EditRequest
from scumble_bench.batch.edits import check_lines
from scumble_bench.batch.lines import Line
from scumble_bench.batch.recipe_lines import fields_of_recipe

WriteRecipe = Callable[..., Path]


@pytest.fixture
def write(lists: Path) -> WriteRecipe:
    """Write `made.png`, as an edit of the cat with a mask would, with changes to its recipe."""

    def make(**changes: Any) -> Path:
        request = EditRequest(source="a red cat", targets=("a blue cat",), steps=3, seed=9)
        sources = {
            "image": {"path": str(lists / "cat.png"), "sha256": "c5"},
            "mask": {"path": str(lists / "left.png"), "sha256": "5d"},
        }
        recipe: dict[str, Any] = {
            "operation": "edit",
            "request": request.model_dump(mode="json"),
            "model": {},
            "sources": sources,
            "provenance": {},
        }
        path = lists / "made.png"
        write_picture(path, np.zeros((8, 8, 3), np.uint8), {**recipe, **changes})
        return path

    return make


def test_it_asks_for_the_same_again(write: WriteRecipe, lists: Path, tmp_path: Path):
    fields, was = fields_of_recipe(write(), {"out": "again"})
    assert (fields["source"], fields["target"], fields["seed"]) == ("a red cat", ["a blue cat"], 9)
    assert fields["picture"] == str((lists / "cat.png").resolve())
    assert fields["mask"] == {"": str((lists / "left.png").resolve())}
    assert was == {"image": "c5", "mask": "5d"}
    line = Line(1, {"recipe": "made.png", "out": "again"})
    (edit,), problems = check_lines([line], lists, tmp_path, lambda _: None)
    assert problems == []
    assert (edit.name, edit.request.seed, edit.was) == ("again", 9, was)


def test_what_the_line_says_holds_in_place_of_the_recipe(write: WriteRecipe):
    given = {"seed": 1, "target": "a dog", "picture": "dog.png", "mask": "right.png"}
    fields, was = fields_of_recipe(write(), given)
    assert {name: fields[name] for name in given} == given
    assert fields["steps"] == 3
    assert was == {}
    fields, was = fields_of_recipe(write(), {"mask": None})
    assert fields["mask"] is None
    assert was == {"image": "c5"}


def test_a_source_that_moved_is_found_beside_the_result(write: WriteRecipe, lists: Path):
    moved = {"image": {"path": "elsewhere/dog.png", "sha256": "c5"}}
    fields, _ = fields_of_recipe(write(sources=moved), {})
    assert fields["picture"] == str((lists / "dog.png").resolve())
    assert "mask" not in fields


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"operation": "generate"}, "is no edit of a picture or of a prompt by itself"),
        ({"before": {"operation": "edit"}}, "is no edit of a picture or of a prompt by itself"),
        ({"sources": {"image": {"path": None, "sha256": "c"}}}, "the image of .* came from memory"),
        ({"sources": {"mask": {"path": "x.png", "sha256": "c"}}}, "was 'x.png', which is gone"),
        ({"sources": 3}, "has no usable 'sources'"),
    ],
)
def test_what_is_refused(write: WriteRecipe, changes: dict[str, Any], said: str):
    path = write(**changes)
    with pytest.raises(ImageError, match=said):
        fields_of_recipe(path, {})


def test_a_picture_without_a_recipe(lists: Path, tmp_path: Path):
    with pytest.raises(ScumbleError, match="holds no recipe"):
        fields_of_recipe(lists / "cat.png", {})
    lines = [Line(4, {"recipe": "cat.png"}), Line(5, {"recipe": 3})]
    edits, problems = check_lines(lines, lists, tmp_path, lambda _: None)
    assert edits == []
    assert [problem.number for problem in problems] == [4, 5]
