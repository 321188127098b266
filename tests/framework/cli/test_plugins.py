import json
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _broken(distribution: Any) -> None:
    distribution(
        "scumble-broken",
        {"broken_plugin": "print('noise')\nraise RuntimeError('no luck')\n"},
        {"scumble.plugins": {"broken": "broken_plugin:Plugin"}},
    )


def test_a_broken_plugin_is_listed_with_its_cause(scumble: Any):
    done = scumble("plugins")
    assert (done.code, done.err) == (0, "")
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "RuntimeError: no luck" in lines["broken"]
    assert "scumble-broken 1.0" in lines["broken"]
    assert "after_step, plan" in lines["prompt_to_prompt"]
    assert "invert" in lines["direct"]
    assert "Invert by DDIM" in lines["direct"]


def test_json(scumble: Any):
    done = scumble("plugins", "--json")
    found = {entry["name"]: entry for entry in json.loads(done.out)["plugins"]}
    assert found["broken"]["problem"]
    assert found["ddim"]["hooks"] == ["invert"]
    assert found["ddim"]["problem"] is None


def test_quiet(scumble: Any):
    assert scumble("plugins", "-q").out == ""
