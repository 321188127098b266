"""An edit is the same, bit for bit, in whatever order and after whatever crash it is made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import ImageError, PromptError, ScumbleError
from scumble.recipes import read_recipe
from scumble_bench.batch.edits import check_lines
from scumble_bench.batch.jobs import job_of
from scumble_bench.batch.lines import Line
from scumble_bench.batch.worker import EditWorker
from scumble_bench.work.pieces import Job, Piece

MakeJob = Callable[..., Job]


@pytest.fixture
def make(lists: Path, tmp_path: Path, model: Path, fake_engine: None) -> MakeJob:
    """Make jobs of edits on the engine in numpy."""

    def made(*fields: dict[str, Any]) -> Job:
        lines = [Line(number, one) for number, one in enumerate(fields, 1)]
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        edits, problems = check_lines(lines, lists, out, lambda _: None)
        assert problems == []
        return job_of(edits, out, {"model": str(model), "engine": "fake"}, "")

    return made


def results(job: Job, *orders: list[int]) -> dict[str, bytes]:
    """Do pieces, each list in a process' lifetime of its own; return the files by name."""
    for order in orders:
        worker = EditWorker(job.settings)
        for n in order:
            worker(job.pieces[n])
        worker.close()
    return {path.name: path.read_bytes() for path in Path(job.settings["out"]).glob("*.png")}


def test_it_writes_pictures_with_recipes_and_says_what_they_took(
    make: MakeJob, cat: dict[str, Any]
):
    job = make({**cat, "target": ["a blue cat", "a white cat"], "seed": 4, "out": "two"})
    worker = EditWorker(job.settings)
    row = worker(job.pieces[0])
    assert row["images"] == ["two.png", "two-2.png"]
    recipe = read_recipe(Path(job.settings["out"]) / "two-2.png")
    assert (recipe["result"], recipe["request"]["seed"]) == (1, 4)
    assert row["rows"] == recipe["rows"]
    assert row["row_count"] == sum(row["rows"].values()) > 0
    assert row["prepared"] == 0
    assert row["seconds"] > 0


def test_the_second_edit_of_a_picture_inverts_nothing(make: MakeJob, cat: dict[str, Any]):
    alone = EditWorker((job := make(cat)).settings)(job.pieces[0])
    job = make(cat, {**cat, "target": "a white cat"})
    worker = EditWorker(job.settings)
    first, second = (worker(piece) for piece in job.pieces)
    assert alone["rows"]["inversion"] > 0
    assert (first["prepared"], second["prepared"]) == (2 * cat["steps"], 0)
    assert "inversion" not in {**first["rows"], **second["rows"]}
    assert second["row_count"] == first["row_count"] < alone["row_count"]


METHODS: list[dict[str, Any]] = [
    {},
    {"inversion": "ddim"},
    {"method": "plug_and_play"},
    {"method": "edit_friendly"},
    {"method": "diffedit"},
]


@pytest.mark.thorough
@pytest.mark.parametrize("other", METHODS, ids=lambda one: "-".join(map(str, one.values())))
def test_neither_order_nor_a_crash_shows_in_a_file(
    make: MakeJob, cat: dict[str, Any], other: dict[str, Any]
):
    """Recipes, which count rows, included."""
    dog = {**cat, "picture": "dog.png", "source": "a dog", "target": "a cat"}
    job = make(
        {**cat, **other, "out": "a"},
        dog,
        {**cat, **other, "target": "a white cat", "out": "b"},
        {**cat, "target": "a green cat", "out": "c"},
        {**dog, "target": "a bird"},
    )
    once = results(job, [0, 2, 3, 1, 4])
    assert len(once) == 5
    assert results(job, [0, 1, 2, 4, 3]) == once
    assert results(job, [3], [4, 2], [1, 0]) == once


@pytest.mark.thorough
def test_an_edit_that_failed_leaves_nothing_to_the_next(make: MakeJob, cat: dict[str, Any]):
    bad = {**cat, "options": {"blend_words": ["dog"]}, "out": "bad"}
    job = make({**cat, "out": "a"}, bad, {**cat, "target": "a white cat", "out": "b"})
    once = results(job, [0, 2])
    worker = EditWorker(job.settings)
    with pytest.raises(PromptError, match="no 'dog'"):
        worker(job.pieces[1])
    assert not (Path(job.settings["out"]) / "bad.png").exists()
    worker.close()
    for order in ([0, 1, 2], [1, 0, 2]):
        worker = EditWorker(job.settings)
        for n in order:
            try:
                worker(job.pieces[n])
            except PromptError:
                assert n == 1
        worker.close()
        assert results(job) == once


@pytest.mark.thorough
def test_what_makes_no_use_of_being_prepared_leaves_nothing_either(
    make: MakeJob, cat: dict[str, Any]
):
    """DiffEdit begins part-way, which is another inversion: two of its edits do not share it."""
    part = {**cat, "method": "diffedit"}
    job = make(
        {**part, "out": "a"},
        {**part, "options": {"threshold": 0.4}, "out": "b"},
        {**cat, "out": "c"},
    )
    once = results(job, [0], [1], [2])
    assert read_recipe(Path(job.settings["out"]) / "b.png")["rows"]["inversion"] > 0
    assert results(job, [0, 1, 2]) == once
    assert results(job, [1, 2, 0, 1, 0, 2]) == once
    # One that failed at its end, with everything run.
    failing = {**job.pieces[0].payload, "was": {"image": "another"}}
    worker = EditWorker(job.settings)
    with pytest.raises(ImageError):
        worker(Piece("a", failing))
    worker(job.pieces[1])
    assert results(job) == once


def test_a_recipe_of_another_picture_is_refused(
    make: MakeJob, lists: Path, tmp_path: Path, cat: dict[str, Any]
):
    made = make({**cat, "out": "made"})
    first = results(made, [0])["made.png"]
    again = make({"recipe": str(tmp_path / "out/made.png"), "out": "again"})
    assert EditWorker(again.settings)(again.pieces[0])["images"] == ["again.png"]
    assert (tmp_path / "out/again.png").read_bytes() == first
    (lists / "cat.png").write_bytes((lists / "dog.png").read_bytes())
    again = make({"recipe": str(tmp_path / "out/made.png"), "out": "other"})
    with pytest.raises(ImageError, match="the image of the recipe was another one"):
        EditWorker(again.settings)(again.pieces[0])
    assert not (tmp_path / "out/other.png").exists()


def test_a_model_that_cannot_be_loaded_ends_it(make: MakeJob, cat: dict[str, Any]):
    job = make(cat)
    with pytest.raises(ScumbleError, match="no model"):
        EditWorker({**job.settings, "model": {"model": "/nowhere", "engine": "fake"}})
