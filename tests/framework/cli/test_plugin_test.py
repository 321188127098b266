"""`scumble plugins test`: a table of findings, and exit code 1 where the contract is broken."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import plugin_test
from scumble.cli.plugin_test import held
from scumble.testing import CHECKS, Finding

Install = Callable[..., Path]
EDIT = """
from scumble import Plugin, hookimpl

class Edit(Plugin):
    @hookimpl
    def scumble_after_step(self, step):
        {body}
"""


def stranger(install: Install, name: str, body: str) -> None:
    module = f"stranger_{name}"
    entries = {"scumble.plugins": {name: f"{module}:Edit"}}
    install(f"my-{name}", entries, {module: EDIT.format(body=body)}, version="2.1")


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], float]]:
    """What is asked of children, in place of starting them; `bad` fails."""
    asked: list[tuple[str, list[str], float]] = []

    def answer(plugin: str, engines: list[str], patience: float) -> list[Finding]:
        asked.append((plugin, engines, patience))
        outcome = "failed" if plugin == "bad" else "passed"
        return [Finding("effect", "fake", outcome, "this was found.")]

    monkeypatch.setattr(plugin_test, "held", answer)
    monkeypatch.setattr(plugin_test, "missing", lambda one: ["x"] * (one.name == "tensorrt"))
    return asked


class TestCommand:
    def test_one_plugin(self, scumble: Any, child: Any):
        done = scumble("plugins", "test", "direct")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("direct, of scumble 0")
        assert "this was found." in done.out
        assert child == [("direct", ["onnxruntime", "openvino", "torch"], 300)]

    def test_a_distribution(self, scumble: Any, child: Any, install: Install):
        entries = {"scumble.plugins": {"one": "stranger_a:Edit", "bad": "stranger_b:Edit"}}
        install("My.Edits", entries, {}, version="2.1")
        done = scumble("plugins", "test", "my-edits", "--engine", "fake", "--patience", 5, "--json")
        assert done.code == 1
        assert sorted(child) == [("bad", [], 5.0), ("one", [], 5.0)]
        told = json.loads(done.out)
        assert told["passed"] is False
        assert {one["name"]: one["from"] for one in told["plugins"]} == {
            "one": "My.Edits 2.1", "bad": "My.Edits 2.1",
        }  # fmt: skip
        (bad,) = [one["checks"] for one in told["plugins"] if one["name"] == "bad"]
        assert bad == [
            {"check": "effect", "engine": "fake", "outcome": "failed", "said": "this was found."}
        ]

    def test_quiet(self, scumble: Any, child: Any):
        done = scumble("plugins", "test", "direct", "--engine", "torch", "-q")
        assert (done.code, done.out) == (0, "")
        assert child[0][1] == ["torch"]

    def test_what_is_not_there(self, scumble: Any, child: Any):
        scumble("plugins", "test", "nope").refused("no plugin 'nope', and no distribution")
        scumble("plugins", "test", "direct", "--engine", "nope").refused(
            "no engine 'nope'; engines: fake, onnxruntime"
        )
        assert child == []


@pytest.mark.thorough
class TestChildren:
    def test_a_good_plugin(self, scumble: Any, install: Install):
        stranger(install, "fine", "return {1: step.latents[1] * 0.9}")
        done = scumble("plugins", "test", "fine", "--engine", "fake")
        assert done.code == 0
        lines = {line.split()[0]: line for line in done.out.splitlines()[2:] if line.strip()}
        assert list(lines) == ["loads", *CHECKS]
        assert "passed" in lines["effect"]
        assert "not applicable" in lines["neutral"]

    @pytest.mark.parametrize(
        ("body", "check", "said"),
        [
            ("return None", "effect", "change nothing and raise nothing"),
            ("import os; os._exit(7)", "deterministic", r"it ended the interpreter (exit code 7)."),
            ("while True: pass", "deterministic", "it did not end within 12 seconds."),
        ],
    )
    def test_a_bad_one(self, install: Install, body: str, check: str, said: str):
        stranger(install, "bad", body)
        bad = [one for one in held("bad", [], 12) if one.outcome == "failed"]
        assert bad[0].check == check
        assert said in bad[0].said

    def test_one_that_does_not_load(self, install: Install):
        install("my-bad", {"scumble.plugins": {"bad": "stranger_gone:Edit"}}, {}, version="2.1")
        (found,) = held("bad", [], 60)
        assert (found.check, found.outcome) == ("loads", "failed")
        assert "'bad' of my-bad 2.1 needs 'stranger_gone'" in found.said

    def test_an_engine(self, install: Install):
        stranger(install, "fine", "return {1: step.latents[1] * 0.9}")
        found = held("fine", ["onnxruntime"], 120)[-1]
        assert (found.check, found.engine, found.outcome) == ("works", "onnxruntime", "passed")
