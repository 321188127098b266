import io
import json
import sys
from typing import Any

import numpy as np
import pytest

from scumble.cli.flags import Output
from scumble.cli.output import print_json, print_table, remark, working
from scumble.sampler import Progress

STEP = Progress(1, 4, {0: np.zeros((4, 2, 2))})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json(capsys: pytest.CaptureFixture[str]):
    print_json({"a": "\udcff", "b": [1]})
    assert json.loads(capsys.readouterr().out) == {"a": "\udcff", "b": [1]}


def test_a_table_is_not_cut_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]):
    print_table(("name", "path"), [("[bold]x[/oops]", "/" + "long/" * 100)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("[bold]x[/oops]")
    assert "long/" * 100 in lines[1]


def test_remarks(capsys: pytest.CaptureFixture[str]):
    remark(Output(), "a\nb")
    remark(Output(quiet=True), "no")
    remark(Output(as_json=True), "no")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "a b\n")


@pytest.mark.parametrize(
    ("output", "terminal", "seen"),
    [
        (Output(), True, True),
        (Output(), False, False),
        (Output(quiet=True), True, False),
        (Output(as_json=True), True, False),
    ],
)
def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    output: Output,
    terminal: bool,
    seen: bool,
):
    stderr: Any = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with working(output) as work:
        work.stage("loading")
        work.step(STEP)
        print("noise")
        assert work.seconds >= 0
    assert capsys.readouterr().out == ""
    assert ("sampling" in stderr.getvalue()) == seen
    assert "noise" in stderr.getvalue()
