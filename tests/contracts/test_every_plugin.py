"""What every plugin promises: each of ours is held to what a stranger's is held to."""

import tomllib
from pathlib import Path

import pytest

from scumble.testing import CHECKS, hold

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLUGINS = sorted(PROJECT["entry-points"]["scumble.plugins"])
ENGINES = sorted(set(PROJECT["entry-points"]["scumble.engines"]) - {"tensorrt"})
"""TensorRT runs on a GPU alone; `scumble plugins test` tries it where there is one."""

# What a check cannot look at, by plugin, with the reason.
GRADIENTS = "the engine in numpy has no gradient by the text"
NO_SAY = "it has no say in the run itself"
NO_NEUTRAL = "its trial names no neutral options"
RUNS = ("deterministic", "tidy", "effect", "exact")
INAPPLICABLE: dict[str, dict[str, str]] = {
    "blended_latent_diffusion": {"neutral": NO_NEUTRAL},
    "ddim": {"neutral": NO_SAY},
    "diffedit": {"neutral": NO_NEUTRAL},
    "direct": {"neutral": NO_SAY},
    "edit_friendly": {"neutral": NO_NEUTRAL},
    "mag_edit": {"neutral": NO_NEUTRAL},
    "negative_prompt": {"neutral": NO_SAY},
    "noise_blocks": {"neutral": NO_NEUTRAL},
    "null_text": {"neutral": NO_SAY, **dict.fromkeys(RUNS, GRADIENTS)},
    "proximal": {"neutral": NO_NEUTRAL},
    "sdedit": {"neutral": NO_NEUTRAL},
}


def slow(name: str, check: str) -> bool:
    """Gradients by differences take seconds; so does loading each engine that a refusal names."""
    return check == "refused" or (name in ("mag_edit", "null_text") and check in RUNS)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=[pytest.mark.thorough] if slow(name, check) else [])
        for name in PLUGINS
        for check in CHECKS
    ],
)
def test_a_plugin_keeps_the_contract(name: str, check: str):
    found = hold(name, check)
    known = check in INAPPLICABLE.get(name, {})
    assert found.outcome == ("not applicable" if known else "passed"), found.said


def test_the_table_of_exceptions_is_current():
    assert set(INAPPLICABLE) <= set(PLUGINS)
    assert {check for checks in INAPPLICABLE.values() for check in checks} <= set(CHECKS)


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "openvino" else pytest.mark.thorough)
        for name in ENGINES
    ],
)
@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_works_on_an_engine_or_is_refused(name: str, engine: str):
    """On the demo checkpoint, or its pack. The torch engine carries out everything."""
    found = hold(name, "works", engine)
    assert found.outcome == "passed", found.said
    if engine == "torch":
        assert found.said.startswith("it runs")
