"""Strangers' modules, loaded where they can do no harm."""

from typing import Any

import pytest

from scumble.cli.entries import Entry, look_at

GOOD = '''
import scumble

print("noise")

class Good(scumble.Plugin):
    """Do good."""

    @scumble.hookimpl
    def scumble_plan(self, run):
        return None
'''


@pytest.fixture
def strangers(distribution: Any) -> None:
    distribution(
        "scumble-strangers",
        {
            "stranger_good": GOOD,
            "stranger_raises": "raise RuntimeError('no luck')\n",
            "stranger_exits": "import sys; sys.exit(3)\n",
            "stranger_dies": "import os; os.write(1, b'{}\\n'); os._exit(7)\n",
        },
        {
            "scumble.plugins": {
                "a-raises": "stranger_raises:Good",
                "b-exits": "stranger_exits:Good",
                "c-dies": "stranger_dies:Good",
                "d-good": "stranger_good:Good",
                "e-gone": "stranger_gone:Good",
            }
        },
    )


@pytest.mark.usefixtures("strangers")
def test_every_stranger_is_looked_at(distribution: Any):
    distribution("scumble-rival", {}, {"scumble.plugins": {"ddim": "stranger_good:Good"}})
    entries = {entry.name: entry for entry in look_at(["plugin"], leave_out=["plugin direct"])}
    assert {name: entry.origin for name, entry in entries.items() if "-" in name} == dict.fromkeys(
        ("a-raises", "b-exits", "c-dies", "d-good", "e-gone"), "scumble-strangers 1.0"
    )
    problems = {name: entry.problem for name, entry in entries.items()}
    assert problems["d-good"] is None
    assert problems["prompt_to_prompt"] is None
    assert problems["direct"] is None
    assert "RuntimeError: no luck" in str(problems["a-raises"])
    assert "SystemExit: 3" in str(problems["b-exits"])
    assert "ended the interpreter" in str(problems["c-dies"])
    assert "exit code 7" in str(problems["c-dies"])
    assert "needs 'stranger_gone'" in str(problems["e-gone"])
    assert "scumble-rival 1.0" in str(problems["ddim"])
    assert entries["d-good"].facts == {"summary": "Do good.", "hooks": ["plan"]}
    assert entries["direct"].facts == {}
    assert "rival" in entries["ddim"].origin


def test_one_that_hangs_is_given_up(distribution: Any):
    distribution(
        "scumble-slow",
        {"stranger_slow": "import time; time.sleep(60)\n"},
        {"scumble.commands": {"slow": "stranger_slow:run"}},
    )
    ours = ["command demo", "command export"]
    (slow,) = (e for e in look_at(["command"], leave_out=ours, patience=1) if e.name == "slow")
    assert slow.problem == "was not loaded within 1 seconds."


def test_as_dict():
    entry = Entry("plugin", "x", "scumble-x 1.0", None, {"hooks": ["plan"]})
    assert entry.as_dict() == {
        "kind": "plugin",
        "name": "x",
        "from": "scumble-x 1.0",
        "problem": None,
        "hooks": ["plan"],
    }
