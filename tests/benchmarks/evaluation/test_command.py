"""`scumble eval` from the command line, on an engine in numpy."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble import Editor
from scumble.cli import main
from scumble.requests import EngineRequest
from scumble.testing import fake_session
from scumble_bench.evaluation import worker
from scumble_bench.evaluation.datasets import load_entries

Scumble = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scumble(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    made_set: dict[str, Path],
) -> Scumble:
    """Run the command line, with an engine in numpy; gives exit code, stdout and stderr."""
    said = [f"{entry.source} {entry.target}" for entry in load_entries(made_set["folder"])]
    words = {word for text in said for word in re.findall(r"\w+", text)}

    class Fake:
        @staticmethod
        def load(**asked: Any) -> Editor:
            return Editor(fake_session(tmp_path / "model", words=sorted(words)), EngineRequest())

    monkeypatch.setattr(worker, "Editor", Fake)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["eval", *(str(argument) for argument in arguments)])
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, said.out, said.err

    return run


@pytest.fixture
def few(made_set: dict[str, Path], tmp_path: Path) -> Path:
    """The made set's first four entries and its last, in the published layout."""
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "annotation_images").symlink_to(made_set["folder"] / "annotation_images")
    table = json.loads((made_set["folder"] / "mapping_file.json").read_text())
    kept = [*list(table)[:4], list(table)[-1]]
    (folder / "mapping_file.json").write_text(json.dumps({id: table[id] for id in kept}))
    return folder


QUICK = ("--steps", 2, "--metric", "mse", "--metric", "psnr")


@pytest.mark.thorough
def test_shares_give_what_the_whole_gives(scumble: Scumble, few: Path, tmp_path: Path):
    method = ("--method", "pie-p2p", "--method", "sdedit")
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    code, out, err = scumble("--data", few, *QUICK, *method, "--out", whole)
    assert code == 0, err
    assert "pie-p2p, direct" in out
    assert "P2P, Direct (published)  700" in out
    assert "compare them only if" in err
    for share in ("2/3", "1/3", "3/3"):
        code, out, err = scumble(
            "--data", few, *QUICK, *method, "--out", shared, "--shard", share, "--json"
        )
        assert code == 0, err
    told = json.loads(out)
    assert [(row["pictures"], row["missing"]) for row in told["rows"]] == [(5, 0), (5, 0)]
    assert (whole / "pictures.csv").read_bytes() == (shared / "pictures.csv").read_bytes()
    assert (whole / "table.md").read_bytes() == (shared / "table.md").read_bytes()
    names = sorted(path.name for path in (whole / "pictures").iterdir())
    assert names == sorted(path.name for path in (shared / "pictures").iterdir())
    assert len(names) == 10
    # The last entry is of another style: its mask is everything.
    lines = list(csv.DictReader((whole / "pictures.csv").read_text().splitlines()))
    assert [line["psnr"] == "nan" for line in lines[:5]] == [False] * 4 + [True]
    means = told["rows"][0]["means"]["all"]
    assert (means["psnr"]["pictures"], means["psnr"]["undefined"]) == (4, 1)


def test_a_share_alone_says_what_is_missing_and_merging_runs_nothing(
    scumble: Scumble, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = ("--data", few, *QUICK, "--method", "sdedit", "--out", tmp_path / "out")
    code, out, _ = scumble(*asked, "--shard", "1/5")
    assert code == 0
    assert "1 (4 missing)" in out
    monkeypatch.setattr(worker, "Editor", None)
    code, out, _ = scumble(*asked, "--merge", "--json")
    assert code == 0
    assert json.loads(out)["rows"][0]["missing"] == 4
    code, _, err = scumble(*asked, "--merge", "--steps", 3)
    assert (code, "steps was 2 and is 3" in err) == (2, True)
    code, _, err = scumble(*asked, "--steps", 3)
    assert (code, "steps was 2 and is 3" in err) == (2, True)


def test_an_edit_that_fails_is_told_and_the_others_go_on(
    scumble: Scumble, few: Path, tmp_path: Path
):
    # A word that only one of the prompts has.
    method = 'prompt_to_prompt:{"blend_words": ["lamp"]}'
    out = tmp_path / "out"
    code, shown, err = scumble("--data", few, *QUICK, "--method", method, "--out", out)
    assert code == 2
    assert "(3 failed)" in shown
    assert "failed: " in err
    assert "'lamp'" in err
    lines = list(csv.DictReader((out / "pictures.csv").read_text().splitlines()))
    assert [bool(line["failure"]) for line in lines] == [False, True, False, True, True]


def test_a_set_is_made(scumble: Scumble, tmp_path: Path):
    code, out, _ = scumble("--make-set", tmp_path / "set", "--json")
    assert code == 0
    assert load_entries(Path(json.loads(out)["folder"])) == load_entries(
        Path(json.loads(out)["parquet"])
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--data is missing"),
        (("--data", "rooms", "--seed", "1"), "--seed has no effect on held-out rooms"),
        (("--data", "rooms", "--metric", "psnr"), "--metric has no effect on held-out rooms"),
        (("--data", "rooms", "--clip", "x"), "--clip has no effect on held-out rooms"),
        (("--data", "rooms", "--precision", "bf16"), "--precision is not for rooms"),
        (("--data", "rooms", "--task", "paint"), "--task is 'paint'"),
        (("--data", "x", "--task", "pose"), "--task has no effect on PIE-Bench"),
        (("--data", "x", "--method", "nope"), "no method 'nope'"),
        (("--data", "x", "--inversion", "masactrl"), "plugin 'masactrl' does not invert"),
        (("--data", "/nowhere"), "neither mapping_file.json"),
    ],
)
def test_what_is_refused_in_a_sentence(scumble: Scumble, arguments: tuple[str, ...], said: str):
    code, out, err = scumble(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_shares_and_merging_exclude_each_other(scumble: Scumble, few: Path, tmp_path: Path):
    asked = ("--data", few, "--out", tmp_path / "out", "--merge", "--shard", "1/2")
    code, _, err = scumble(*asked)
    assert code == 2
    assert "--merge and --shard are given" in err


HALFWAY = """
from scumble import Plugin, RunView, StepView, hookimpl

class Halfway(Plugin):
    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView):
        return {n: 0.5 * (x + step.latents[0]) for n, x in step.latents.items() if n}
"""


@pytest.mark.thorough
def test_rooms_are_edited_and_judged_by_a_stranger_s_plugin_too(
    scumble: Scumble, tmp_path: Path, install: Callable[..., Path]
):
    entries = {"scumble.plugins": {"halfway": "halfway_mod:Halfway"}}
    install("scumble-halfway", entries, {"halfway_mod": HALFWAY})
    asked = ("--data", "rooms", "--edits", 1, "--steps", 2, "--task", "colour", "--threads", 1)
    method = ("--method", "halfway", "--method", "diffedit")
    code, out, err = scumble(*asked, *method, "--out", tmp_path / "out")
    assert code == 0, err
    assert "DiffEdit, true mask" in out
    assert "mask IoU" in out
    told = json.loads((tmp_path / "out/summary.json").read_text())
    assert {row["failed"] for row in told["rows"]} == {0}
    points = {point["label"]: point for point in told["points"]}
    assert list(points) == ["halfway", "DiffEdit", "DiffEdit, true mask"]
    assert points["halfway"]["rows"] > 0
    assert (tmp_path / "out/pareto.png").read_bytes().startswith(b"\x89PNG")
