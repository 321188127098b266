from dataclasses import replace
from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble_bench.latency.interleaving import Comparison, Timing
from scumble_bench.latency.parts import Part, Settings


def test_an_engine_that_runs_packs_is_given_packs(tmp_path: Path):
    settings = Settings(shape=tmp_path, pack=Path("p"), shape_pack=Path("s"))
    assert (settings.model_for("torch"), settings.shape_for("torch")) == ("rooms", tmp_path)
    assert settings.model_for("onnxruntime") == Path("p")
    assert settings.shape_for("onnxruntime") == Path("s")


def test_without_a_pack_the_checkpoint_may_have_one_beside_it(tmp_path: Path):
    settings = Settings(shape=tmp_path)
    assert settings.model_for("onnxruntime") == "rooms"
    with pytest.raises(OptionError, match="--shape-pack"):
        settings.shape_for("onnxruntime")


def test_pictures_are_square(tmp_path: Path):
    assert Settings(shape=tmp_path, pixels=64).size == (64, 64)
    assert Settings(shape=tmp_path, pixels=None).size is None


def test_an_editor_is_loaded_as_asked(quick: Settings):
    with replace(quick, threads=1).load(quick.model, "torch", "bf16") as editor:
        asked = editor.generate("a red sofa", steps=1).recipe["model"]
    assert (asked["engine"], asked["device"]) == ("torch", "cpu")
    assert (asked["precision"], asked["threads"]) == ("bf16", 1)


def test_a_part_shows_its_facts_and_timings():
    done = Comparison({"a": Timing("a", (1.0,))}, rounds=1, warmup=0)
    shown = Part({"rows": 3}, {"steps": done}).as_json()
    assert shown == {"facts": {"rows": 3}, "comparisons": {"steps": done.as_json()}}
