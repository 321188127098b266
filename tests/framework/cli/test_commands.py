"""Commands of other distributions: seen without being imported, and harmless when broken."""

import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import typer

from scumble.cli.commands import command_from, summary_of
from scumble.errors import PluginError
from scumble.plugins import Listed

GROUP = "scumble.commands"
GREET = '''
"""A command."""
from typing import Annotated
import typer
from scumble import PromptError

def greet(name: Annotated[str, typer.Argument(help="Whom.")], loud: bool = False) -> None:
    """Say hello [/to] somebody.

    And more.
    """
    if name == "nobody":
        raise PromptError("nobody is there.")
    if name == "interrupt":
        raise KeyboardInterrupt
    print(f"hello {name}{'!' if loud else ''}")

def odd(value: int | str) -> None:
    """Take what typer cannot read."""

app = typer.Typer(help="Several.")

@app.command()
def one() -> None:
    """Say one."""
    print("one")

@app.command()
def two() -> None:
    """Say two."""

number = 3
'''


@pytest.fixture
def greeting(distribution: Any) -> None:
    distribution(
        "scumble-greeting",
        {"greeting_command": GREET, "greeting_broken": "raise ImportError('no luck')\n"},
        {
            GROUP: {
                "greet": "greeting_command:greet",
                "several": "greeting_command:app",
                "odd": "greeting_command:odd",
                "number": "greeting_command:number",
                "broken": "greeting_broken:run",
                "gone": "greeting_nowhere:run",
                "show": "greeting_command:greet",
            }
        },
    )


@pytest.mark.usefixtures("greeting")
class TestInstalled:
    def test_help_lists_them_without_importing(self, scumble: Any):
        done = scumble("--help")
        assert done.code == 0
        assert "Say hello [/to] somebody." in done.out
        assert "Brought by scumble-greeting 1.0." in done.out
        assert {"several", "broken", "gone"} <= set(done.out.split())
        assert "greeting_command" not in sys.modules

    def test_a_function(self, scumble: Any):
        done = scumble("greet", "you", "--loud")
        assert (done.code, done.out, done.err) == (0, "hello you!\n", "")

    def test_a_typer(self, scumble: Any):
        assert scumble("several", "one").out == "one\n"
        assert "Say two." in scumble("several", "--help").out

    def test_its_help(self, scumble: Any):
        done = scumble("greet", "--help")
        assert done.code == 0
        assert "scumble greet [OPTIONS]" in done.out
        assert "Whom." in done.out

    def test_its_errors_are_told_as_ours_are(self, scumble: Any):
        scumble("greet", "nobody").refused("nobody is there.")
        assert scumble("greet", "interrupt").code == 130
        misused = scumble("greet", "--nope")
        assert misused.code == 2
        assert "Usage: scumble greet" in misused.err

    @pytest.mark.parametrize(
        ("name", "because"),
        [
            ("broken", "cannot be imported: ImportError: no luck"),
            ("gone", "needs 'greeting_nowhere'"),
            ("odd", "cannot be read by typer"),
            ("number", "neither a function nor a typer.Typer"),
        ],
    )
    def test_a_broken_one_is_its_own_trouble(self, scumble: Any, name: str, because: str):
        scumble(name).refused(f"command '{name}' of scumble-greeting 1.0", because)
        scumble(name, "--help").refused(because)
        assert scumble("greet", "you").code == 0

    def test_a_built_in_name_cannot_be_taken(self, scumble: Any):
        scumble("show", "nobody").refused("'nobody' does not exist")

    def test_a_name_offered_twice(self, scumble: Any, distribution: Any):
        distribution("scumble-rival", {}, {GROUP: {"greet": "greeting_command:greet"}})
        assert "greet" in scumble("--help").out
        scumble("greet", "you").refused("scumble-greeting 1.0", "scumble-rival 1.0")


def test_summaries_are_read_from_the_source(distribution: Any):
    distribution(
        "scumble-x",
        {
            "summaries.inner": 'def a():\n    """First.\n\n    Second."""\ndef b(): pass\nc = 1\n',
            "summaries.cut": "def a(:\n",
            "summaries.__init__": "raise RuntimeError('imported')\n",
        },
        {},
    )
    found = {
        value: summary_of(EntryPoint("x", value, GROUP))
        for value in (
            "summaries.inner:a",
            "summaries.inner:b",
            "summaries.inner:c",
            "summaries.inner:missing",
            "summaries.cut:a",
            "summaries.none:a",
            "nowhere.at.all:a",
            "math:floor",
        )
    }
    assert found.pop("summaries.inner:a") == "First."
    assert set(found.values()) == {None}


def test_a_command_needs_a_function():
    listed = Listed("x", "scumble-x", "1.0", EntryPoint("x", "a:b", GROUP))
    with pytest.raises(PluginError, match="neither"):
        command_from(listed, 3)
    with pytest.raises(PluginError, match="cannot be read by typer"):
        command_from(listed, typer.Typer())
