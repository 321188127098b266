import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scumble.recipes import read_recipe

pytestmark = pytest.mark.thorough


def test_a_picture(scumble: Any, out: Path, fast: list[str]):
    done = scumble("generate", "a red cat", "--out", out / "a.png", *fast, "--size", "64x128")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"wrote    {out / 'a.png'}\n")
    with Image.open(out / "a.png") as image:
        assert image.size == (128, 64)
    assert read_recipe(out / "a.png")["operation"] == "generate"


def test_json_is_all_that_reaches_stdout(
    scumble: Any, out: Path, fast: list[str], monkeypatch: pytest.MonkeyPatch
):
    from scumble_engines.torch import TorchEngine

    decode = TorchEngine.decode

    def noisy(self: Any, latents: Any) -> Any:
        print("a remark of some library")
        return decode(self, latents)

    monkeypatch.setattr(TorchEngine, "decode", noisy)
    done = scumble("generate", "a red cat", "--out", out / "a.png", *fast, "--json")
    assert json.loads(done.out)["images"] == [str(out / "a.png")]
    assert done.err == "a remark of some library\n"


def test_an_interrupt_writes_nothing(
    scumble: Any, out: Path, fast: list[str], monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("scumble.editor.Pipeline.finish", interrupt)
    done = scumble("generate", "a red cat", "--out", out / "a.png", *fast)
    assert (done.code, done.err) == (130, "scumble: interrupted.\n")
    assert os.listdir(out) == []
