"""What bad input gets, before any model is loaded: a sentence, exit code 2, and no file."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.cli.checks import first_with, named_masks
from scumble.errors import OptionError, PromptError
from scumble.testing import fake_checkpoint
from scumble.words import Tokenizer

pytestmark = pytest.mark.usefixtures("no_model")

Refused = Callable[..., None]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the tiny model: a folder without weights, for nothing here gets to load it."""
    folder = tmp_path_factory.mktemp("weightless") / "model"
    fake_checkpoint(folder)
    return folder


@pytest.fixture(params=["edit", "generate", "maps", "invert", "maps of a picture"])
def any_command(request: pytest.FixtureRequest, room: Path, out: Path) -> Callable[..., list[Any]]:
    """Arguments of a command that runs a model, with a prompt."""

    def arguments(prompt: str = "a cat", image: Path = room) -> list[Any]:
        found: dict[str, list[Any]] = {
            "edit": ["edit", image, "--source", "a cat", "--target", prompt],
            "generate": ["generate", prompt],
            "invert": ["invert", image, "--source", prompt],
            "maps": ["maps", "--prompt", prompt],
            "maps of a picture": ["maps", image, "--prompt", prompt],
        }
        name: str = request.param
        target = out / "maps" if name.startswith("maps") else out / "out.png"
        return [*found[name], "--out", target]

    return arguments


@pytest.fixture
def refused(scumble: Any, out: Path, fast: list[str]) -> Refused:
    """Run a command that must be refused, with nothing written."""

    def run(*arguments: object, because: str, flags: tuple[object, ...] = ()) -> None:
        scumble(*arguments, *fast, *flags).refused(because)
        assert os.listdir(out) == []

    return run


@pytest.mark.parametrize(
    ("prompt", "because"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("x" * 10**6, "has 1000000 characters"),
        ("a\x00b", "control character"),
    ],
    ids=["empty", "blank", "a million characters", "control character"],
)
def test_prompts(refused: Refused, any_command: Any, prompt: str, because: str):
    refused(*any_command(prompt), because=because)


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        (("--steps", 0), "steps is 0"),
        (("--guidance", "nan"), "guidance is nan"),
        (("--seed", -1), "seed is -1"),
        (("--size", "big"), "--size is 'big'"),
        (("--fit", "squeeze"), "fit is 'squeeze'"),
        (("--precision", "int4"), "precision is 'int4'"),
        (("--device", "tpu"), "device is 'tpu'"),
        (("--threads", 0), "threads is 0"),
        (("--mode", "fast"), "mode is 'fast'"),
        (("--engine", "nope"), "no engine 'nope'; installed: "),
        (("--gradient-engine", "nope"), "no engine 'nope'; installed: "),
        (("--negative", "x" * 10**6), "has 1000000 characters"),
        (("--model", "nope"), "no model 'nope'"),
    ],
)
def test_settings(refused: Refused, any_command: Any, flags: tuple[object, ...], because: str):
    refused(*any_command(), flags=flags, because=because)


def test_a_folder_that_is_no_checkpoint(
    refused: Refused, any_command: Any, checkpoint: Path, tmp_path: Path
):
    refused(*any_command(), flags=("--model", tmp_path), because="is no checkpoint")
    pickled = tmp_path / "pickled"
    shutil.copytree(checkpoint, pickled, copy_function=shutil.copy)
    for weights in (pickled / "unet").glob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    refused(*any_command(), flags=("--model", pickled), because="pickle")


@pytest.mark.parametrize("kind", ["missing", "truncated", "text", "folder", "animated"])
@pytest.mark.parametrize("command", ["edit", "invert", "maps"])
def test_pictures(refused: Refused, room: Path, out: Path, command: str, kind: str, tmp_path: Path):
    picture = tmp_path / "bad.png"
    match kind:
        case "truncated":
            picture.write_bytes(room.read_bytes()[:3000])
        case "text":
            picture.write_text("no picture")
        case "folder":
            picture.mkdir()
        case "animated":
            frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
            frames[0].save(picture, save_all=True, append_images=frames[1:])
        case _:
            pass
    prompts = {
        "edit": ["--source", "a cat", "--target", "a dog", "--out", out / "a.png"],
        "invert": ["--source", "a cat", "--out", out / "a.png"],
        "maps": ["--prompt", "a cat", "--out", out / "maps"],
    }
    refused(command, picture, *prompts[command], because="bad.png")


def edit(room: Path, out: Path, *more: object, source: str = "a cat") -> list[object]:
    return [
        "edit", room, "--source", source, "--target", "a dog", "--out", out / "out.png", *more,
    ]  # fmt: skip


def test_masks(refused: Refused, room: Path, out: Path, tmp_path: Path):
    Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
    mask = ("--mask", tmp_path / "mask.png")
    refused(*edit(room, out, *mask), because="64x64 pixels and its picture 160x120")
    refused(*edit(room, out, "--mask", tmp_path / "no.png"), because="no.png")
    bare = ["edit", "--source", "a", "--target", "b", "--out", out / "a.png"]
    refused(*bare, *mask, because="needs a picture")
    named = ("--mask", f"sky={tmp_path / 'mask.png'}")
    refused(*edit(room, out, *named), because="64x64 pixels and its picture 160x120")
    refused(*bare, *named, because="needs a picture")
    refused(*edit(room, out, *named, *named), because="mask 'sky' is given twice")
    refused(*edit(room, out, *mask, *mask), because="--mask without a name is given twice")
    refused(*edit(room, out, "--mask", f"sky={out / 'out.png'}"), because="the file that is read")


def test_names_of_masks(tmp_path: Path):
    odd = tmp_path / "a=b.png"
    found = named_masks(["left=l.png", "m.png", "the sky=x=y.png"])
    assert found == {"left": Path("l.png"), "": Path("m.png"), "the sky": Path("x=y.png")}
    assert named_masks([str(odd)]) == {str(tmp_path / "a"): Path("b.png")}
    odd.touch()
    assert named_masks([str(odd)]) == {"": odd}
    assert named_masks([]) == {}
    with pytest.raises(OptionError, match="mask 'sky' is given twice; name each mask once"):
        named_masks(["sky=a.png", "sky=b.png"])


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        (("--set", "nope=1"), "plugin 'prompt_to_prompt' has no option 'nope'"),
        (("--set", "mode=sideways"), "mode is 'sideways'"),
        (("--set", "self_window=2"), "self_window"),
        (("--set", "mode"), "give KEY=VALUE"),
        (("--method", "nope"), "no plugin 'nope'; installed: "),
        (("--inversion", "nope"), "no plugin 'nope'"),
        (("--inversion-set", "nope=1"), "plugin 'direct' has no option 'nope'"),
        (("--map", "cat"), "give each --map WORD a --map-out FILE"),
        (("--map", "unicorn", "--map-out", "OUT/m.png"), "unicorn"),
        (("--map", "a", "--map-out", "OUT/m.png", "--map", "cat", "--map-out", "OUT/m.png"), "two"),
        (("--map", "cat", "--map-out", "OUT/m.jpg"), "name it .png"),
        (("--strip", "OUT/out.png"), "written by --out too"),
        (("--strip", "OUT/no/strip.png"), "there is no folder"),
        (("--target", "c", "--strip", "OUT/out-2.png"), "written by --out too"),
    ],
)
def test_edits(refused: Refused, room: Path, out: Path, flags: tuple[str, ...], because: str):
    there = [flag.replace("OUT", str(out)) for flag in flags]
    refused(*edit(room, out, *there), because=because)


def test_a_picture_is_not_overwritten(scumble: Any, room: Path, fast: list[str]):
    before = room.read_bytes()
    arguments = ["--source", "a", "--out", room, *fast]
    scumble("edit", room, "--target", "b", *arguments).refused("the file that is read")
    scumble("invert", room, *arguments).refused("the file that is read")
    assert room.read_bytes() == before


@pytest.mark.parametrize("name", ["out.jpg", "no/out.png"])
def test_outputs(refused: Refused, out: Path, name: str):
    refused("generate", "a cat", "--out", out / name, because="--out is")


def test_words_and_thresholds_of_maps(refused: Refused, out: Path, room: Path):
    arguments = ["maps", room, "--prompt", "a cat", "--out", out / "maps"]
    refused(*arguments, "--word", "unicorn", because="unicorn")
    refused(*arguments, "--threshold", "2", because="--threshold is 2")
    (room.parent / "file").touch()
    refused("maps", "--prompt", "a", "--out", room.parent / "file", because="is a file")


def test_a_plugin_that_cannot_be_imported(
    scumble: Any, room: Path, out: Path, fast: list[str], distribution: Any
):
    distribution(
        "scumble-broken",
        {"broken_on_import": "print('noise')\nraise RuntimeError('no luck\\nat all')\n"},
        {"scumble.plugins": {"broken": "broken_on_import:Plugin"}},
    )
    said = "plugin 'broken' of scumble-broken 1.0 cannot be imported: RuntimeError: no luck at all."
    for flags in ([], ["--set", "a=1"]):
        done = scumble(*edit(room, out, *fast), "--method", "broken", *flags)
        # What it printed itself is on stderr, before the sentence.
        assert (done.code, done.out, done.err) == (2, "", f"noise\nscumble: {said}\n")
        assert os.listdir(out) == []


@pytest.mark.parametrize("value", ["NotAPlugin", "missing", "sys"])
def test_a_plugin_that_is_none(
    refused: Refused, room: Path, out: Path, distribution: Any, value: str
):
    distribution(
        "scumble-wrong",
        {"wrong_plugin": "import sys\nclass NotAPlugin: pass\n"},
        {"scumble.plugins": {"wrong": f"wrong_plugin:{value}"}},
    )
    for flags in ([], ["--set", "a=1"]):
        refused(*edit(room, out, "--method", "wrong", *flags), because="plugin 'wrong'")


def test_the_first_target_with_a_word(checkpoint: Path):
    tokenizer = Tokenizer.load(checkpoint / "tokenizer")
    prompts = [tokenizer.encode(text) for text in ("a red cat", "a dog", "a blue dog")]
    assert [first_with(word, prompts) for word in ("red", "dog", "blue", "a")] == [0, 1, 2, 1]
    with pytest.raises(PromptError, match="unicorn"):
        first_with("unicorn", prompts)
