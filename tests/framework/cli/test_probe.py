import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from scumble.cli import probe as child
from scumble.cli.probe import main, probe
from scumble.testing import fake_checkpoint

THINGS = '''
"""Things that entry points may name."""
import scumble
from scumble.testing import FakeEngine

class Unmarked(scumble.Plugin):
    def scumble_plan(self, run):
        return None

class Shouting(scumble.Engine):
    name = "shouting"
    groups = property(lambda self: 1 / 0)

class Silent(FakeEngine):
    @property
    def provenance(self):
        raise scumble.EngineError("load a model first.")

number = 3
folder = FOLDER
gone = "/no/such/folder"

def run(count: int = 1) -> None:
    """Run."""
'''


@pytest.fixture
def things(distribution: Any, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    fake_checkpoint(folder)
    (folder / "vae" / "config.json").write_text("{}")
    names = {"number": "number", "unmarked": "Unmarked", "shouting": "Shouting"}
    points = {name: f"probed_things:{value}" for name, value in names.items()}
    distribution(
        "scumble-things",
        {"probed_things": THINGS.replace("FOLDER", repr(str(folder)))},
        {
            "scumble.plugins": points,
            "scumble.engines": {**points, "silent": "probed_things:Silent"},
            "scumble.models": {
                **points,
                "whole": "probed_things:folder",
                "gone": "probed_things:gone",
            },
            "scumble.commands": {**points, "runs": "probed_things:run"},
        },
    )
    return folder


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize(
    ("kind", "name", "because"),
    [
        ("plugin", "number", "no subclass of scumble.Plugin"),
        ("plugin", "unmarked", "scumble_plan without @hookimpl"),
        ("plugin", "nope", "no plugin 'nope'"),
        ("engine", "number", "no subclass of scumble.Engine"),
        ("engine", "shouting", "TypeError"),
        ("model", "number", "TypeError"),
        ("model", "gone", "does not exist"),
        ("command", "number", "neither a function nor"),
    ],
)
def test_problems(kind: str, name: str, because: str):
    assert because in probe(kind, name)["problem"]


def test_facts(things: Path):
    assert probe("command", "runs") == {"summary": "Run."}
    facts = probe("model", "whole")
    assert facts == {"folder": str(things), "megabytes": facts["megabytes"]}
    silent = probe("engine", "silent")
    assert silent["runs_on"] == {}
    assert "mix" in silent["ports"]
    (things / "tokenizer" / "tokenizer_config.json").unlink()
    assert "is not complete: it has no tokenizer" in probe("model", "whole")["problem"]


@pytest.mark.usefixtures("things")
def test_the_child_reports_line_by_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    entries = [["command", "runs"], ["command", "nope"]]
    asked = {"path": list(sys.path), "entries": entries, "tried": False}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    kept = list(sys.path)
    into = os.open(tmp_path / "reports", os.O_RDWR | os.O_CREAT)
    monkeypatch.setattr(child.os, "dup", lambda _: into)
    monkeypatch.setattr(child.os, "dup2", lambda *_: None)
    main()
    assert sys.path == kept
    lines = (tmp_path / "reports").read_text().splitlines()
    assert [sorted(json.loads(line)) for line in lines] == [["summary"], ["problem"]]


class TestTried:
    """A stranger's plugin is run once; ours are tested elsewhere."""

    SOURCE = """
from scumble import OptionError, Plugin, hookimpl
import numpy as np

class Edit(Plugin):
    @hookimpl
    def scumble_after_step(self, step):
        {body}
"""

    def probed(self, distribution: Any, body: str, tried: bool = True) -> dict[str, Any]:
        source = self.SOURCE.format(body=body)
        entries = {"scumble.plugins": {"tried": "probe_tried:Edit"}}
        distribution("scumble-tried", {"probe_tried": source}, entries)
        return probe("plugin", "tried", tried)

    def test_one_that_works(self, distribution: Any):
        assert self.probed(distribution, "return None") == {"hooks": ["after_step"], "tried": "yes"}

    def test_one_that_breaks(self, distribution: Any):
        found = self.probed(distribution, "return 1 / 0")
        assert "'tried' of scumble-tried 1.0 raised ZeroDivisionError" in found["problem"]

    def test_one_that_disturbs(self, distribution: Any):
        found = self.probed(distribution, "np.random.seed(1)")
        assert found["tried"] == "yes"
        assert "of scumble-tried 1.0 changed numpy's global random state" in found["problem"]

    def test_one_that_refuses_is_not_broken(self, distribution: Any):
        found = self.probed(distribution, "raise OptionError('it needs a licence.')")
        assert found == {"hooks": ["after_step"], "tried": "no: it needs a licence."}

    def test_only_where_it_is_asked_for(self, distribution: Any):
        assert self.probed(distribution, "return 1 / 0", False) == {"hooks": ["after_step"]}
        assert "tried" not in probe("plugin", "direct", True)
