import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest

from scumble.cli import app as program
from scumble.errors import ControlError

COMMANDS = (
    "edit", "generate", "maps", "invert", "show", "rerun",
    "schema", "plugins", "engines", "models", "cache", "doctor", "demo",
)  # fmt: skip

IMPORTED = """
import sys, time
begun = time.process_time()
from scumble.cli import main
try:
    main(["--help"])
except SystemExit as ended:
    assert ended.code == 0
print(time.process_time() - begun)
print([name for name in ("torch", "diffusers", "transformers") if name in sys.modules])
"""


def test_version(scumble: Any):
    done = scumble("--version")
    assert (done.code, done.out, done.err) == (0, f"scumble {version('scumble')}\n", "")


def test_help_lists_every_command_with_its_line(scumble: Any):
    done = scumble("--help")
    assert done.code == 0
    lines = [line.strip("│ ").split(maxsplit=1) for line in done.out.splitlines()]
    listed = {words[0]: words[1] for words in lines if len(words) == 2}
    assert set(COMMANDS) <= set(listed)
    assert all(len(listed[name]) > 15 for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS[:-1])
def test_every_command_has_help_and_json(scumble: Any, name: str):
    done = scumble(name, "--help")
    assert done.code == 0
    assert "--json" in done.out


def test_help_is_quick_and_loads_no_runtime():
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=True,
    )
    seconds, loaded = done.stdout.splitlines()[-2:]
    assert loaded == "[]"
    assert float(seconds) < 1.5  # 0.5 on an idle core; processor time, for the cores are shared


@pytest.mark.parametrize(
    "arguments", [("edit", "--nope"), ("nope",), ("generate",), ("generate", "x", "--steps", "y")]
)
def test_misuse_is_a_usage_error(scumble: Any, arguments: tuple[str, ...]):
    done = scumble(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert "Usage: scumble" in done.err


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("scumble.cli.show.read_recipe", fail)


def test_an_error_of_ours_is_one_sentence(scumble: Any, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, ControlError("it had\n no effect\x1b[2J."))
    done = scumble("show", "x.png")
    done.refused(r"scumble: it had no effect\x1b[2J.")
    monkeypatch.setenv("SCUMBLE_DEBUG", "1")
    done = scumble("show", "x.png")
    assert done.code == 2
    assert "Traceback" in done.err


def test_a_bug_is_one_line_and_a_traceback_where_wanted(
    scumble: Any, monkeypatch: pytest.MonkeyPatch
):
    failing(monkeypatch, ZeroDivisionError("oops"))
    done = scumble("show", "x.png")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "bug" in done.err
    assert "ZeroDivisionError: oops" in done.err
    assert "SCUMBLE_DEBUG=1" in done.err
    monkeypatch.setenv("SCUMBLE_DEBUG", "1")
    done = scumble("show", "x.png")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "SCUMBLE_DEBUG" not in done.err


def test_an_interrupt_is_one_line(scumble: Any, monkeypatch: pytest.MonkeyPatch):
    failing(monkeypatch, KeyboardInterrupt())
    done = scumble("show", "x.png")
    assert (done.code, done.out, done.err) == (130, "", "scumble: interrupted.\n")


def test_an_interrupt_while_the_program_starts(scumble: Any, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(program.typer.main, "get_command", interrupt)
    done = scumble("--help")
    assert (done.code, done.err) == (130, "scumble: interrupted.\n")
