"""The table of inversions: what an edit of it has, the command, and the figures in the guide."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from scumble_bench.rooms import CHECKPOINT, inversions
from scumble_bench.rooms.inversions import ROWS, TASKS, Row, as_markdown, main
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import Case

GUIDE = Path(__file__).parents[2] / "docs/guides/inversion.md"


def report(*names: str) -> dict[str, Any]:
    mean = {
        "psnr": 20.25, "vae_psnr": 30.0, "rows": 76.0, "gradients": 199.6, "inversion_rows": 20.0,
        "success": 0.625,
    }  # fmt: skip
    rows = [{"name": name, "task": task, "mean": mean} for name in names for task in TASKS]
    return {"rows": rows}


def test_the_table():
    lines = as_markdown(report("DDIM", "direct")).splitlines()
    assert len(lines) == 2 + 2 + 1
    assert lines[2] == "| DDIM | 20 | 200 | 20.2 dB | 62% | 20.2 dB | 62% | 20.2 dB |"
    assert lines[-1] == "| the autoencoder alone | | | 30.0 dB | | 30.0 dB | | 30.0 dB |"
    assert len({line.count("|") for line in lines}) == 1


def test_every_inversion_that_comes_with_the_program_is_measured(repository: Path):
    plugins = (repository / "plugins/scumble_plugins").glob("*.py")
    invert = {p.stem for p in plugins if "def scumble_invert" in p.read_text()}
    own = {"sdedit", "blended_latent_diffusion"}  # methods that bring their own way to noise
    assert len({row.inversion for row in ROWS}) == len(invert - own)
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_guide_shows_what_was_measured():
    text = GUIDE.read_text(encoding="utf-8")
    measured = json.loads(inversions.RESULTS.read_text(encoding="utf-8"))
    assert as_markdown(measured) in text
    assert f"{measured['steps']} steps" in text
    for row in measured["rows"]:
        assert f"{row['edits']} held-out scenes" in text


def lossy() -> Any:
    """A session, as far as an edit is measured: its autoencoder loses one bit."""
    engine = SimpleNamespace(encode_image=lambda p: p, decode=lambda latents: latents - 2 / 255)
    return SimpleNamespace(engine=engine)


class Editor:
    """Gives back what it was given, and says what it was asked."""

    def __init__(self) -> None:
        self.session = lossy()
        self.asked: dict[str, Any] = {}

    def edit(self, image: Any, **asked: Any) -> Any:
        self.asked = asked
        cost = {"rows": {"inversion": 7}, "row_count": 30, "gradient_count": 5}
        return SimpleNamespace(source=image, image=image, **cost)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(CHECKPOINT / "judge")


@pytest.mark.parametrize("task", TASKS)
def test_an_edit_that_changes_nothing(judge: Judge, task: Any):
    image = np.full((128, 128, 3), 128, np.uint8)
    mask = np.zeros((128, 128), dtype=bool)
    mask[20:60, 20:60] = True
    case = Case(
        0,
        image,
        "a room",
        "a red room",
        "sofa",
        "red",
        "red",
        None,
        None,
        mask,
        mask,
        (20, 20, 60, 60),
    )
    editor: Any = Editor()
    row = Row("mine", "proximal", {"threshold": "hard"})
    found = inversions.measured(editor, judge, row, task, case, 9)
    assert found["psnr"] == 100
    assert found["vae_psnr"] == pytest.approx(20 * np.log10(255), abs=0.1)
    assert (found["inversion_rows"], found["rows"], found["gradients"]) == (7, 30, 5)
    assert editor.asked["inversion_options"] == {"threshold": "hard"}
    assert editor.asked["target"] == ("a room" if task == "reconstruction" else "a red room")
    assert editor.asked["method"] == ("masactrl" if task == "pose" else "prompt_to_prompt")
    assert ("success" in found) == (task != "reconstruction")


@pytest.mark.thorough
def test_a_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(inversions, "ROWS", (ROWS[0], ROWS[3]))
    measured, count = inversions.measured, 0

    def stopping(*given: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return measured(*given)

    monkeypatch.setattr(inversions, "measured", stopping)
    asked = ["--edits", "1", "--steps", "2", "--threads", "1", "--out", str(tmp_path / "out.json")]
    with pytest.raises(KeyboardInterrupt):
        main(asked)
    assert main(asked) == 0
    assert count == 3 + 4, "what was measured is measured again"
    written = json.loads((tmp_path / "out.json").read_text())
    assert [(row["name"], row["task"]) for row in written["rows"]] == [
        (row.name, task) for row in inversions.ROWS for task in TASKS
    ]
    assert written["rows"][0]["mean"]["inversion_rows"] == 2
    assert (written["engine"], written["gradient_engine"]) == ("torch", "torch")
    assert capsys.readouterr().out.startswith("| inversion |")
    assert not list(tmp_path.glob("*.part.json"))
    assert written["left_out"] == []


@pytest.mark.thorough
def test_some_rows_alone(tmp_path: Path):
    asked = ["--edits", "1", "--steps", "2", "--threads", "1", "--out", str(tmp_path / "out.json")]
    main([*asked, "--rows", ROWS[3].name])
    written = json.loads((tmp_path / "out.json").read_text())
    assert {row["name"] for row in written["rows"]} == {ROWS[3].name}
    assert written["left_out"] == [row.name for row in ROWS if row is not ROWS[3]]
