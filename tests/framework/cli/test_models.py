import json
from pathlib import Path
from typing import Any

import pytest

from scumble.testing import fake_checkpoint


@pytest.fixture(autouse=True)
def _models(distribution: Any, tmp_path: Path) -> None:
    folder = tmp_path / "whole"
    fake_checkpoint(folder)
    (folder / "vae" / "config.json").write_text("{}")
    distribution(
        "scumble-models-x",
        {"models_x": f"whole = {str(folder)!r}\nempty = {str(tmp_path)!r}\n"},
        {
            "scumble.models": {
                "whole": "models_x:whole",
                "empty": "models_x:empty",
                "broken": "models_nowhere:x",
            }
        },
    )


def test_models(scumble: Any, tmp_path: Path):
    done = scumble("models")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert str(tmp_path / "whole") in lines["whole"]
    assert " MB " in lines["whole"]
    assert "broken: " in lines["empty"]
    assert "no model_index.json" in lines["empty"]
    assert "needs 'models_nowhere'" in lines["broken"]
    assert "rooms" in lines


def test_json(scumble: Any):
    found = json.loads(scumble("models", "--json").out)["models"]
    problems = {entry["name"]: entry["problem"] for entry in found}
    assert problems["whole"] is None
    assert scumble("models", "--quiet").out == ""


def test_a_broken_model_is_nothing_to_another(scumble: Any, tmp_path: Path):
    arguments = ["generate", "x" * 20_000, "--out", tmp_path / "a.png", "--model"]
    scumble(*arguments, "whole").refused("20000 characters")
    scumble(*arguments, "broken").refused("model 'broken' of scumble-models-x")
