"""Edits on a tiny random model: what is written, what is said, and what fails on the way."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.recipes import read_recipe

pytestmark = pytest.mark.thorough

CATS = ("--source", "a red cat", "--target", "a blue cat")

PLUGINS = '''
import numpy as np
import scumble

class Raises(scumble.Plugin):
    """Raise."""

    @scumble.hookimpl
    def scumble_plan(self, run):
        print("noise")
        raise RuntimeError("no luck\\nat all")

class NotANumber(scumble.Plugin):
    """Break the latents."""

    @scumble.hookimpl
    def scumble_after_step(self, run, step):
        return {1: step.latents[1] * np.nan}
'''


@pytest.fixture
def strangers(distribution: Any) -> None:
    distribution(
        "scumble-strangers",
        {"edit_strangers": PLUGINS},
        {
            "scumble.plugins": {
                "raises": "edit_strangers:Raises",
                "nan": "edit_strangers:NotANumber",
            }
        },
    )


def test_a_picture_of_which_nothing_is_said(scumble: Any, room: Path, out: Path, fast: list[str]):
    done = scumble(
        "edit", room, "--source", "", "--target", "a red dog", "--method", "masactrl",
        "--out", out / "out.png", "--strip", out / "strip.png", *fast,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert sorted(os.listdir(out)) == ["out.png", "strip.png"]
    silent = ("--source", " ", "--target", "a red dog", "--method", "masactrl")
    scumble("edit", room, *silent, "--out", out / "b.png", *fast).refused("prompt is empty")
    nothing = ("--source", "", "--target", "a red dog", "--method", "masactrl")
    scumble("edit", *nothing, "--out", out / "b.png", *fast).refused("prompt is empty")


def test_a_picture(scumble: Any, room: Path, out: Path, fast: list[str]):
    done = scumble(
        "edit", room, *CATS, "--target", "a red dog", "--out", out / "out.png", *fast,
        "--set", "blend_words=cat,dog", "--set", "mode=replace", "--seed", 3,
        "--strip", out / "strip.png",
        "--map", "blue", "--map-out", out / "blue.png", "--map", "red", "--map-out", out / "r.png",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "note: Fitted from 160x120" in done.err
    assert done.err.count("\n") == 1
    lines = done.out.splitlines()
    assert lines[:2] == [f"wrote    {out / 'out.png'}", f"wrote    {out / 'out-2.png'}"]
    assert lines[-2].startswith("rows     ")
    assert lines[-1].startswith("seconds  ")
    names = ["blue.png", "out-2.png", "out.png", "r.png", "strip.png"]
    assert sorted(os.listdir(out)) == names
    images = {name: Image.open(out / name) for name in names}
    side = images["out.png"].size
    assert all(images[name].size == side for name in names[:-1])
    assert images["strip.png"].width > 3 * side[0]
    recipe = read_recipe(out / "out-2.png")
    assert recipe["result"] == 1
    assert recipe["request"]["options"] == {"blend_words": ["cat", "dog"], "mode": "replace"}
    assert recipe["request"]["seed"] == 3
    assert recipe["sources"]["image"]["path"] == str(room)


def test_a_generated_source_as_json(scumble: Any, out: Path, fast: list[str]):
    done = scumble(
        "edit", *CATS, "--out", out / "out.png", *fast, "--json", "--guidance", 2,
        "--map", "red", "--map-out", out / "red.png",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    told = json.loads(done.out)
    assert told["images"] == [str(out / "out.png")]
    assert told["maps"] == {"red": str(out / "red.png")}
    assert told["strip"] is None
    assert told["row_count"] == sum(told["rows"].values())
    assert set(told["timings"]) >= {"sampling", "decode"}
    assert told["recipe"]["request"]["guidance"] == 2
    assert {**told["recipe"], "result": 0, "recipe": 1} == read_recipe(out / "out.png")


def test_a_mask(scumble: Any, room: Path, out: Path, fast: list[str]):
    bits = np.zeros((120, 160), np.uint8)
    bits[30:90, 40:120] = 255
    Image.fromarray(bits).save(room.parent / "mask.png")
    arguments = ["edit", room, *CATS, "--out", out / "out.png", *fast, "--quiet"]
    done = scumble(*arguments, "--mask", room.parent / "mask.png")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert set(read_recipe(out / "out.png")["sources"]) == {"image", "mask"}


def test_further_plugins(scumble: Any, room: Path, out: Path, fast: list[str]):
    """Both have their say, the recipe names them, and it is made again."""
    arguments = ["edit", room, *CATS, "--out", out / "out.png", *fast, "--quiet"]
    noise = ["--further", "initial_noise", "--further-set", "initial_noise.repaint=[[0,0,32,32]]"]
    done = scumble(*arguments, *noise)
    assert (done.code, done.out, done.err) == (0, "", "")
    recipe = read_recipe(out / "out.png")
    assert recipe["request"]["further"] == {"initial_noise": {"repaint": [[0, 0, 32, 32]]}}
    assert {"prompt_to_prompt", "initial_noise"} < set(recipe["provenance"]["plugins"])
    again = scumble("rerun", out / "out.png", "--out", out / "again.png")
    assert "bit-identical to FILE" in again.out
    routes = [*arguments[:-1], "--further", "masactrl", "--further-set", "masactrl.start_step=0"]
    first = ["--set", "self_window=1"]
    scumble(*routes, *first).refused(
        "port 'route.k' of target 1 with its text is written at step 0 and site ",
        "by plugins 'prompt_to_prompt' and 'masactrl'",
    )
    scumble(*arguments, "--further", "nope").refused("no plugin 'nope'")


def test_masks_by_their_names(scumble: Any, room: Path, out: Path, fast: list[str]):
    """And done again, also where one of them has moved."""
    bits = np.zeros((120, 160), np.uint8)
    bits[:, :80] = 255
    for name, pixels in (("left", bits), ("right", 255 - bits)):
        Image.fromarray(pixels).save(room.parent / f"{name}.png")
    left, right = room.parent / "left.png", room.parent / "right.png"
    masks = ["--method", "masactrl", "--mask", f"target={left}", "--mask", f"source={right}"]
    done = scumble("edit", room, *CATS, "--out", out / "out.png", *fast, "--quiet", *masks)
    assert (done.code, done.out, done.err) == (0, "", "")
    sources = read_recipe(out / "out.png")["sources"]
    assert {name: source["path"] for name, source in sources.items()} == {
        "image": str(room), "mask.target": str(left), "mask.source": str(right),
    }  # fmt: skip
    again = ["rerun", out / "out.png", "--out", out / "again.png"]
    assert "bit-identical to FILE" in scumble(*again).out
    right.rename(room.parent / "moved.png")
    scumble(*again).refused("which is gone; give mask={'source': ...}")
    found = scumble(*again, "--mask", f"source={room.parent / 'moved.png'}")
    assert "bit-identical to FILE" in found.out
    scumble(*again, "--mask", f"sea={left}").refused("no mask 'sea'; it had: 'source', 'target'")


@pytest.mark.parametrize(
    ("flags", "because"),
    [
        (("--set", "blend_words=unicorn"), "unicorn"),
        (
            ("--set", "mode=replace", "--target", "a fluffy blue cat"),
            "two prompts of as many words",
        ),
        (("--size", "100x100"), "multiples of"),
        (("--method", "raises"), "raised RuntimeError in scumble_plan: no luck at all"),
        (("--method", "nan"), "1024 values that are not finite"),
    ],
)
@pytest.mark.usefixtures("strangers")
def test_what_fails_in_the_run_writes_nothing(
    scumble: Any, room: Path, out: Path, fast: list[str], flags: tuple[str, ...], because: str
):
    done = scumble("edit", room, *CATS, "--out", out / "out.png", *fast, *flags)
    sentence = done.err.removeprefix("noise\n")
    assert (done.code, done.out, sentence.count("\n")) == (2, "", 1)
    assert sentence.startswith("scumble: ")
    assert because in sentence
    assert os.listdir(out) == []


def test_nan_is_never_a_black_picture(
    scumble: Any, room: Path, out: Path, fast: list[str], monkeypatch: pytest.MonkeyPatch
):
    from dataclasses import replace

    from scumble_engines.torch import TorchEngine

    step = TorchEngine._step

    def broken(self: Any, ports: Any) -> Any:
        output = step(self, ports)
        return replace(output, noise=output.noise * np.nan)

    monkeypatch.setattr(TorchEngine, "_step", broken)
    flags = [*fast, "--strip", out / "strip.png"]
    for image, because in (([room], "not finite"), ([], "")):
        done = scumble("edit", *image, *CATS, "--out", out / "out.png", *flags)
        done.refused(because)
        assert os.listdir(out) == []


def test_results_are_taken_back_if_the_strip_cannot_be_written(
    scumble: Any, out: Path, fast: list[str], monkeypatch: pytest.MonkeyPatch
):
    replace = os.replace

    def full(part: Path, path: Path) -> None:
        if Path(path).name == "strip.png":
            raise OSError(28, "No space left on device")
        replace(part, path)

    monkeypatch.setattr(os, "replace", full)
    flags = ["--strip", out / "strip.png", *fast]
    scumble("edit", *CATS, "--out", out / "out.png", *flags).refused("No space left on device")
    assert os.listdir(out) == []


def test_a_plugin_makes_the_mask(scumble: Any, room: Path, out: Path, fast: list[str]):
    # The maps of a UNet with random weights have no peaks: they are cut nearer to their mean.
    made = ("--masking", "diffedit", "--masking-set", "maps=2", "--masking-set", "clip=1.2")
    done = scumble("edit", room, *CATS, *made, "--out", out / "out.png", "--json", *fast)
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows"]["masking"] == 4
    request = read_recipe(out / "out.png")["request"]
    assert request["masking"] == "diffedit"
    assert request["masking_options"] == {"maps": 2, "clip": 1.2}
    again = scumble("rerun", out / "out.png", "--out", out / "again.png", "--json")
    assert again.code == 0, again.err
    first, second = (np.asarray(Image.open(out / name)) for name in ("out.png", "again.png"))
    assert np.array_equal(first, second)
    given = ("--mask", room, "--masking", "diffedit")
    scumble("edit", room, *CATS, *given, "--out", out / "b.png", *fast).refused("leave one out")
    wrong = ("--masking", "diffedit", "--masking-set", "maps=0")
    scumble("edit", room, *CATS, *wrong, "--out", out / "b.png", *fast).refused("maps is 0")
    idle = ("--masking-set", "maps=2")
    scumble("edit", room, *CATS, *idle, "--out", out / "b.png", *fast).refused("no --masking")
    none = ("--masking", "direct")
    scumble("edit", room, *CATS, *none, "--out", out / "b.png", *fast).refused("makes no masks")
