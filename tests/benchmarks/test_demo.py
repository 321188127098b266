"""The demo's table says what was measured, and its files are those of the runs."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

import scumble
from scumble.errors import EngineError
from scumble.images import to_model
from scumble.maps import AttentionMap
from scumble_bench import demo as command
from scumble_bench import demo_edits
from scumble_bench.demo import edit_all
from scumble_bench.demo_edits import DemoEdit, DemoPicture, MethodEdit
from scumble_bench.demo_outcomes import SIZE
from scumble_bench.rooms import judge

BEFORE = np.full((SIZE, SIZE, 3), 100, np.uint8)
INSIDE = np.s_[32:64, 32:64]


class Run:
    """A run whose result is red where the thing is, and off by five levels at one far pixel."""

    row_count = 12
    gradient_count = 0
    provenance: ClassVar[dict[str, str]] = {"engine": "stub"}
    source = Image.fromarray(BEFORE)

    def __init__(self) -> None:
        pixels = BEFORE.copy()
        pixels[INSIDE] = (255, 0, 0)
        pixels[0, 0] += 5
        self.image = Image.fromarray(pixels)
        heat = AttentionMap("sofa", np.eye(16, dtype=np.float32), "source")
        self.maps = SimpleNamespace(of=lambda word, picture: heat)

    def save(self, path: Path) -> None:
        self.image.save(path)


class Editor:
    """Stands for a loaded model; its autoencoder shifts every level by ten."""

    engine = SimpleNamespace(
        name="stub", encode_image=lambda pixels: pixels, decode=lambda latents: latents + 20 / 255
    )
    gradients = False

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.given: list[dict[str, Any]] = []
        self.loaded: list[tuple[object, ...]] = []
        gradients = SimpleNamespace(engine=SimpleNamespace(supports=lambda _: self.gradients))
        self.session = SimpleNamespace(engine=self.engine, gradients=gradients)

    def load(self, *given: object) -> "Editor":
        self.loaded.append(given)
        return self

    def __enter__(self) -> "Editor":
        return self

    def __exit__(self, *details: object) -> None: ...

    def edit(
        self, path: Path | None, *, source: str, target: str, callback_on_step_end: Any, **rest: Any
    ) -> Run:
        self.asked.append((source, target))
        self.given.append({"path": path, **rest})
        for step in range(rest["steps"]):
            callback_on_step_end(step)
        return Run()


class Judge:
    """Sees a red sofa where the result has red, a blue one before."""

    def __call__(self, images: np.ndarray) -> list[judge.Verdict]:
        assert images.shape == (2, SIZE, SIZE, 3)
        return [
            judge.Verdict(
                {"sofa": 1.0, "table": 0.0},
                {"sofa": "red" if (image[INSIDE] == (255, 0, 0)).all() else "blue"},
                {},
                np.zeros((64, 64), np.uint8),
            )
            for image in images
        ]


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """One picture with three edits, the last of a kind that the judge cannot tell."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(BEFORE).save(pictures / "room.png")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[INSIDE] = 255
    Image.fromarray(mask).save(pictures / "room-sofa.png")
    monkeypatch.setattr(demo_edits, "FOLDER", pictures)
    monkeypatch.setattr(command, "PICTURES", (DemoPicture("room", "room.png", "a blue sofa"),))
    edits = (
        DemoEdit("room", "swap", "a red sofa", "sofa", "red", colour="red"),
        DemoEdit("room", "refine", "a blue table", "sofa", "table", becomes="table"),
        DemoEdit("room", "reweight", "a blue sofa", "sofa", "more"),
    )
    monkeypatch.setattr(command, "EDITS", edits)
    monkeypatch.setattr(command, "METHOD_EDITS", ())
    stands = Editor()
    monkeypatch.setattr(command.Editor, "load", stands.load)
    monkeypatch.setattr(judge.Judge, "load", lambda *_: Judge())
    return stands


def test_every_edit_is_made_measured_and_written(editor: Editor, tmp_path: Path):
    told: list[str] = []
    (swap, refine, reweight), left_out = edit_all(tmp_path, 2, told.append)
    assert left_out == []
    assert editor.asked == [
        ("a blue sofa", "a red sofa"),
        ("a blue sofa", "a blue table"),
        ("a blue sofa", "a blue sofa"),
    ]
    assert told == [f"room: {kind}" for kind in ("swap", "refine", "reweight") for _ in range(2)]
    assert (swap.changed, swap.as_asked) == ("blue sofa -> red sofa", True)
    assert (refine.changed, refine.as_asked) == ("blue sofa -> no table", False)
    assert reweight.as_asked is None
    # What changed inside the thing is not counted, what changed outside is.
    outside = SIZE**2 - (32 + 12) ** 2  # the mask grows by six pixels on every side
    error = (5 / 255) ** 2 / outside
    assert swap.stayed == pytest.approx(-10 * np.log10(error), abs=1e-6)
    assert swap.autoencoder == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)
    assert (swap.rows, swap.engine) == (12, "stub")
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {
        "room-swap.png",
        "room-refine.png",
        "room-reweight.png",
        "room-sofa-heat.png",
        "room-strip.png",
    }
    with Image.open(tmp_path / "room-strip.png") as strip:
        assert strip.width >= 5 * 2 * SIZE, "source, heat map and three results"


OF_ROOM = MethodEdit(
    method="mag_edit",
    target="a red sofa",
    thing="sofa",
    label="red",
    picture=DemoPicture("room", "room.png", "a blue sofa"),
    colour="red",
    options={"words": ("red",)},
    masked=True,
    gradients=True,
)
OF_NOTHING = MethodEdit(
    method="initial_noise",
    target="a red sofa",
    thing="sofa",
    label="there",
    picture=None,
    colour="red",
    seed=5,
)


def test_a_method_edits_as_it_says(editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "METHOD_EDITS", (OF_ROOM, OF_NOTHING))
    editor.gradients = True
    told: list[str] = []
    (*_, by_mag, by_noise), left_out = edit_all(tmp_path, 2, told.append)
    assert left_out == []
    assert told[-4:] == ["mag_edit", "mag_edit", "initial_noise", "initial_noise"]
    assert editor.asked[-2:] == [("a blue sofa", "a red sofa"), ("a red sofa", "a red sofa")]
    mag, noise = editor.given[-2:]
    assert mag["mask"] == tmp_path / "pictures/room-sofa.png"
    assert (mag["method"], mag["options"]) == ("mag_edit", {"words": ("red",)})
    assert (noise["path"], noise["mask"], noise["seed"]) == (None, None, 5)
    assert (by_mag.picture, by_mag.as_asked, by_mag.changed) == (
        "room.png",
        True,
        "blue sofa -> red sofa",
    )
    assert by_mag.stayed is not None
    assert (by_noise.picture, by_noise.stayed, by_noise.autoencoder) == ("", None, None)
    written = {path.name for path in tmp_path.iterdir()}
    assert {"room-mag_edit.png", "room-mag_edit-strip.png", "initial_noise.png",
            "initial_noise-strip.png"} <= written  # fmt: skip


def test_a_method_without_its_gradients_is_left_out_and_says_so(
    demo: Callable[..., Any], editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(command, "METHOD_EDITS", (OF_ROOM, OF_NOTHING))
    report = json.loads(demo("--out", tmp_path, "--steps", 1, "--json").stdout)
    assert [edit["kind"] for edit in report["edits"]][-1] == "initial_noise"
    (missing,) = report["left_out"]
    assert (missing["kind"], missing["target"]) == ("mag_edit", "a red sofa")
    assert missing["why"].startswith("it needs gradients, which stub has none of here")
    assert "torch" in missing["why"]
    assert not (tmp_path / "room-mag_edit.png").exists()
    shown = demo("--out", tmp_path, "--steps", 1).output
    assert "left out: mag_edit, 'a red sofa': it needs gradients" in " ".join(shown.split())


def test_the_stub_of_an_autoencoder_shifts_by_ten():
    moved = Editor.engine.decode(Editor.engine.encode_image(to_model(BEFORE)))
    assert float(np.mean(moved - to_model(BEFORE))) == pytest.approx(2 * 10 / 255, abs=1e-6)


@pytest.fixture
def demo(editor: Editor) -> Callable[..., Any]:
    app = typer.Typer()
    app.command()(command.demo)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_json_holds_every_outcome(demo: Callable[..., Any], tmp_path: Path):
    out = tmp_path / "new" / "out"
    done = demo("--out", out, "--steps", 1, "--json")
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert [edit["kind"] for edit in report["edits"]] == ["swap", "refine", "reweight"]
    assert report["out"] == str(out)
    assert (out / "room-swap.png").exists()
    assert {edit["engine"] for edit in report["edits"]} == {"stub"}


def test_model_and_engine_are_the_users_choice(
    demo: Callable[..., Any], editor: Editor, tmp_path: Path
):
    assert demo("--out", tmp_path, "--steps", 1).exit_code == 0
    flags = ("--model", "my-rooms", "--engine", "torch")
    assert demo("--out", tmp_path, "--steps", 1, *flags).exit_code == 0
    assert editor.loaded == [("rooms", None), ("my-rooms", "torch")]


def test_a_judge_that_cannot_run_says_what_to_install(
    editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delitem(sys.modules, "scumble_bench.rooms.judge")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"needs onnxruntime.*'scumble\[onnxruntime\]'"):
        edit_all(tmp_path, 1, lambda _: None)


WITHOUT_TORCH = """
import sys
for name in ("torch", "diffusers", "transformers", "safetensors", "onnx", "onnxscript"):
    sys.modules[name] = None
from scumble.cli import main
main(sys.argv[1:])
"""


def without_torch(*arguments: str) -> str:
    """What a command prints in a process that cannot import torch."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments, "--json"],
        env={**os.environ, "SCUMBLE_DEBUG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"onnxruntime"' in done.stdout
    return done.stdout


@pytest.mark.thorough
def test_it_runs_without_torch(tmp_path: Path):
    """Every edit is made, but for what the shipped pack has no gradients for."""
    report = json.loads(without_torch("demo", "--out", str(tmp_path), "--steps", "2"))
    made = [edit["kind"] for edit in report["edits"]]
    left_out = [one["kind"] for one in report["left_out"]]
    assert sorted(made[len(demo_edits.EDITS) :] + left_out) == sorted(
        edit.method for edit in demo_edits.METHOD_EDITS
    )
    assert set(left_out) <= {"mag_edit"}
    # A result of each edit; a heat map and a strip of each picture, and a strip of each method.
    pictures, methods = len(demo_edits.PICTURES), len(made) - len(demo_edits.EDITS)
    assert len(list(tmp_path.iterdir())) == len(made) + 2 * pictures + methods


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (("edit", "DRAWN", "--source", "a green sofa", "--target", "a blue sofa", "--steps", "2",
          "--set", "blend_words=sofa", "--out", "OUT/blue.png"), 1),
        (("maps", "DRAWN", "--prompt", "a green sofa", "--word", "sofa", "--steps", "2", "--out",
          "OUT"), 3),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else None,
)  # fmt: skip
def test_other_commands_run_without_torch(tmp_path: Path, arguments: tuple[str, ...], files: int):
    drawn = next(picture.path for picture in demo_edits.PICTURES if picture.name == "drawn")
    known = {"OUT": str(tmp_path), "DRAWN": str(drawn), "OUT/blue.png": str(tmp_path / "blue.png")}
    without_torch(*(known.get(argument, argument) for argument in arguments))
    assert len(list(tmp_path.iterdir())) == files


@pytest.mark.thorough
def test_the_pictures_do_not_depend_on_the_engine():
    """As every demo edit at 50 steps does: one level apart at most, in 0.03 % of pixels."""
    (picture,) = (picture for picture in demo_edits.PICTURES if picture.name == "table")
    (edit,) = (e for e in demo_edits.EDITS if (e.picture, e.kind) == ("table", "reweight"))
    made: list[np.ndarray] = []
    for engine in ("torch", "onnxruntime"):
        with scumble.Editor.load("rooms", engine, device="cpu") as loaded:
            run = loaded.edit(
                picture.path,
                source=picture.prompt,
                target=edit.target,
                options=edit.options,
                steps=20,
            )
        assert run.provenance["engine"] == engine
        made.append(np.asarray(run.image).astype(int))
    apart = np.abs(made[0] - made[1])
    assert apart.max() <= 2
    assert np.mean(apart.max(axis=-1) > 0) < 0.005


def test_its_help_needs_no_runtime():
    program = """
import sys
for name in ("torch", "onnxruntime", "onnx"):
    sys.modules[name] = None
import scumble_bench.demo, scumble_bench.demo_edits, scumble_bench.rooms, scumble_bench.rooms.world
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
