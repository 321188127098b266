"""`scumble batch` as its users meet it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.cli.app import main
from scumble.recipes import read_recipe

Batch = Callable[..., tuple[int, str, str]]
WriteList = Callable[..., Path]


@pytest.fixture
def batch(model: Path, fake_engine: None, capsys: pytest.CaptureFixture[str]) -> Batch:
    """Call the command on the engine in numpy; return exit code, stdout and stderr."""

    def call(path: Path, *arguments: object, runner: str = "local") -> tuple[int, str, str]:
        flags = ("--model", model, "--engine", "fake", "--runner", runner)
        with pytest.raises(SystemExit) as ended:
            main(["batch", *map(str, (path, *flags, *arguments))])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def files(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.png")}


def test_a_list_becomes_pictures_with_recipes_and_rows(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    path = write_list(
        {**cat, "out": "blue"},
        {**cat, "target": ["a white cat", "a green cat"], "out": "both.png"},
        {"source": "a dog", "target": "a cat", "steps": 2, "seed": 8},
    )
    out = tmp_path / "out"
    code, told, said = batch(path, "--out", out)
    assert (code, said) == (0, "")
    assert told.splitlines()[0].startswith("edits    3 of 3 made")
    assert sorted(files(out)) == ["blue.png", "both-2.png", "both.png", "edit-0003.png"]
    assert read_recipe(out / "edit-0003.png")["request"]["seed"] == 8
    assert read_recipe(out / "blue.png")["model"]["threads"] == 1
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [(row["line"], row["key"]) for row in rows] == [
        (1, "blue"),
        (2, "both"),
        (3, "edit-0003"),
    ]


def test_a_csv_is_a_list_too(batch: Batch, lists: Path, tmp_path: Path):
    path = lists / "list.csv"
    path.write_text(
        "picture,source,target,steps,seed,out,options.blend_words\n"
        "cat.png,a red cat,a blue cat,2,5,blue,cat\n"
    )
    assert batch(path, "--out", tmp_path / "out")[0] == 0
    request = read_recipe(tmp_path / "out/blue.png")["request"]
    assert (request["steps"], request["seed"]) == (2, 5)
    assert request["options"] == {"blend_words": ["cat"]}


def test_every_bad_line_is_told_and_nothing_runs(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    path = write_list(
        "{", cat, {**cat, "steps": 0}, {**cat, "source": "a \x07 cat"}, {**cat, "a": 1}
    )
    code, told, said = batch(path, "--out", tmp_path / "out")
    assert (code, told) == (2, "")
    lines = said.splitlines()
    assert [line.split(":")[1].rpartition(" ")[2] for line in lines[:4]] == ["1", "3", "4", "5"]
    assert "steps is 0" in lines[1]
    assert lines[4].endswith("4 of 5 lines cannot be used, and nothing was run; mend them.")
    assert not (tmp_path / "out").exists()


def test_a_second_call_makes_what_is_missing_only(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    out = tmp_path / "out"
    first, second = {**cat, "out": "a"}, {**cat, "target": "a white cat", "out": "b"}
    batch(write_list(first, second), "--out", out)
    before, rows = files(out), (out / "rows.jsonl").read_text()
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    (out / "b.png").unlink()
    assert batch(write_list(first, second), "--out", out)[0] == 0
    assert files(out) == before
    assert (out / "a.png").stat().st_mtime_ns == times["a.png"]
    again = (out / "rows.jsonl").read_text()
    assert again.splitlines()[0] == rows.splitlines()[0]
    third = {**cat, "picture": "dog.png", "out": "c"}
    assert batch(write_list(third, second, first), "--out", out)[0] == 0
    keys = [json.loads(line)["key"] for line in (out / "rows.jsonl").read_text().splitlines()]
    assert keys == ["c", "b", "a"]
    assert (out / "a.png").stat().st_mtime_ns == times["a.png"]


def test_a_failed_edit_is_told_and_the_others_are_made(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    bad = {**cat, "options": {"blend_words": ["dog"]}, "out": "bad"}
    code, told, said = batch(write_list(bad, {**cat, "out": "good"}), "--out", tmp_path / "out")
    assert code == 2
    assert told.startswith("edits    1 of 2 made")
    assert "'bad' failed: " in said
    assert "no 'dog'" in said
    assert list(files(tmp_path / "out")) == ["good.png"]
    rows = (tmp_path / "out/rows.jsonl").read_text().splitlines()
    assert "no 'dog'" in json.loads(rows[0])["failure"]


def test_json_is_one_object(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    bad = {**cat, "options": {"blend_words": ["dog"]}, "out": "bad"}
    code, told, _ = batch(write_list(cat, bad), "--out", tmp_path / "out", "--json")
    report = json.loads(told)
    assert (code, report["edits"], report["failed"]) == (2, 2, 1)
    assert [row["key"] for row in report["rows"]] == ["edit-0001", "bad"]
    assert [Path(path).name for path in report["tables"]] == ["rows.jsonl", "rows.csv"]


def test_quiet_prints_nothing(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    assert batch(write_list(cat), "--out", tmp_path / "out", "--quiet") == (0, "", "")


def test_rows_of_other_settings_are_not_mixed_in(
    batch: Batch, write_list: WriteList, cat: dict[str, Any], tmp_path: Path
):
    path = write_list(cat)
    batch(path, "--out", tmp_path / "out")
    before = files(tmp_path / "out")
    code, _, said = batch(path, "--out", tmp_path / "out", "--precision", "fp64")
    assert code == 2
    assert "holds rows made with other settings" in said
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--runner", "spark"), "no runner 'spark'; there are: ray, local."),
        (("--workers", "3"), "--workers is for --runner ray"),
        (("--gpus-per-worker", "0.5"), "--gpus-per-worker is for --runner ray"),
        (("--address", "auto"), "--address is for --runner ray"),
        (("--engine", "warp"), "no engine 'warp'; installed: "),
        (("--model", "/nowhere"), "no model"),
        (("--threads", "0"), "scumble batch: threads is 0"),
        (("--out", "/nowhere/in/it"), "there is no folder '/nowhere/in'"),
    ],
)
def test_flags_that_cannot_be_used(
    batch: Batch,
    write_list: WriteList,
    cat: dict[str, Any],
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
):
    code, _, told = batch(write_list(cat), "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert said in told
    assert not (tmp_path / "out").exists()


def test_without_ray_the_extra_is_named(
    batch: Batch,
    write_list: WriteList,
    cat: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, said = batch(write_list(cat), "--out", tmp_path / "out", runner="ray")
    assert code == 2
    assert "pip install 'scumble[ray]'" in said


def test_what_ray_is_told(
    batch: Batch,
    write_list: WriteList,
    cat: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    from scumble_bench.work import local, on_ray

    given: list[on_ray.Actors] = []

    def run(job: Any, told: Any, actors: on_ray.Actors) -> Any:
        given.append(actors)
        return local.run(job, told)

    monkeypatch.setattr(on_ray, "run", run)
    path = write_list(cat)
    assert batch(path, "--out", tmp_path / "a", runner="ray")[0] == 0
    flags = ("--workers", 3, "--threads", 2, "--gpus-per-worker", 0.25, "--address", "auto")
    assert batch(path, "--out", tmp_path / "b", *flags, runner="ray")[0] == 0
    assert given == [on_ray.Actors(2, 1), on_ray.Actors(3, 2, 0.25, "auto")]


def test_its_help_needs_no_runtime():
    program = """
import sys
for name in ("torch", "onnxruntime", "ray", "pyarrow", "pandas", "matplotlib", "torchmetrics"):
    sys.modules[name] = None
import scumble_bench.batch.command, scumble_bench.work.on_ray, scumble_bench.batch.worker
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


@pytest.mark.slow
def test_ray_makes_the_same_files_as_one_process(tmp_path: Path):
    """Byte for byte, recipes included, by two workers, with the demo checkpoint."""
    pictures = Path(__file__).parents[3] / "benchmarks/scumble_bench/pictures"
    sofa: dict[str, Any] = {
        "picture": str(pictures / "drawn.jpg"),
        "source": "a room with a green sofa and a yellow ball",
        "steps": 3,
    }
    edits = [
        {**sofa, "target": "a room with a blue sofa and a yellow ball", "out": "a"},
        {"source": "a red ball", "target": "a blue ball", "steps": 3, "seed": 4, "out": "b"},
        {**sofa, "target": "a room with a green sofa and a red ball", "out": "c"},
        {
            "picture": str(pictures / "dog.png"),
            "source": "a jumping yellow dog",
            "target": "a lying yellow dog",
            "method": "masactrl",
            "steps": 3,
            "out": "d",
        },
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(json.dumps(edit) for edit in edits))
    made: list[dict[str, bytes]] = []
    orders: list[list[str]] = []
    for runner in (("local",), ("ray", "--workers", "2")):
        out = tmp_path / runner[0]
        arguments = ["batch", str(path), "--out", str(out), "--json", "--runner", *runner]
        done = subprocess.run(
            [sys.executable, "-c", "from scumble.cli import main; main()", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        rows = json.loads(done.stdout)["rows"]
        orders.append([row["key"] for row in rows])
        made.append(files(out))
    assert orders == [["a", "b", "c", "d"]] * 2
    assert sorted(made[0]) == ["a.png", "b.png", "c.png", "d.png"]
    assert made[1] == made[0]
