import os
import sys
import warnings

import pytest

from scumble.cli.reporting import LONGEST, QUIET, hushed, one_line, report, shown


def test_shown_text_has_no_control_characters():
    assert shown("a\x1b[31mb\x07\u202ec\n") == "a\\x1b[31mb\\x07\\u202ec\\n"
    assert shown("Teppich, 青い") == "Teppich, 青い"


def test_one_line_is_one_line_of_bearable_length():
    assert one_line("a\n  b\tc ") == "a b c"
    assert one_line("x" * 5000) == "x" * LONGEST + "..."


def test_report(capsys: pytest.CaptureFixture[str]):
    report("this\nfailed.", ValueError("why"))
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "scumble: this failed.\n")


def test_a_report_shows_the_traceback_in_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_DEBUG", "1")
    report("this failed.", ValueError("why"))
    assert capsys.readouterr().err.endswith("ValueError: why\nscumble: this failed.\n")


def test_hushed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name in (*QUIET, "HF_HUB_DISABLE_PROGRESS_BARS"):
        monkeypatch.setenv(name, "mine")
        monkeypatch.delenv(name)
    monkeypatch.setenv("DIFFUSERS_VERBOSITY", "mine")
    with hushed():
        print("noise")
        warnings.warn("deprecated", stacklevel=1)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "noise\n")
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "error"
    assert os.environ["DIFFUSERS_VERBOSITY"] == "mine"


def test_hushed_lets_warnings_through_in_debugging(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_DEBUG", "1")
    with hushed():
        print("noise")
        with pytest.warns(UserWarning, match="deprecated"):
            warnings.warn("deprecated", stacklevel=1)
    assert capsys.readouterr().out == ""


def test_hushed_keeps_warnings_that_the_user_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with hushed(), pytest.warns(UserWarning, match="deprecated"):
        warnings.warn("deprecated", stacklevel=1)
