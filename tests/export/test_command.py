"""`scumble export`, as a user runs it."""

import json
import sys
from pathlib import Path

import pytest

from scumble.cli import main
from scumble.packs import Manifest, read_manifest

pytestmark = pytest.mark.thorough


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["export", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.usefixtures("untraced")
def test_json_is_one_object_and_nothing_else(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert run(small, "--out", out, "--variant", "plain", "--variant", "routed", "--json") == 0
    said = capfd.readouterr().out
    assert said.count("\n") == 1
    assert Manifest.model_validate(json.loads(said)) == read_manifest(out)
    assert list(read_manifest(out).variants) == ["plain", "routed"]


@pytest.mark.usefixtures("untraced")
def test_a_line_for_each_variant(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    assert run(small, "--out", out, "--variant", "plain", "--variant", "routed") == 0
    plain, routed, total = capfd.readouterr().out.splitlines()
    assert plain.startswith("plain: no controls; within ")
    assert routed.startswith("routed: route, mix; within ")
    assert total.startswith(f"{out}: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--variant", "odd"), "no variant odd; there are plain"),
        (("--opset", "22"), "opset is 22, want 21 or 23"),
    ],
)
def test_what_cannot_be_asked_for_is_one_sentence(
    small: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
):
    assert run(small, "--out", tmp_path / "out", *arguments) == 2
    told = capfd.readouterr()
    assert told.out == ""
    assert said in told.err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_without_the_exporters_packages(
    small: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    for name in [name for name in sys.modules if name.startswith("scumble_export.")]:
        if name != "scumble_export.command":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert run(small, "--out", tmp_path / "out") == 2
    assert "pip install 'scumble[export]'" in capfd.readouterr().err
