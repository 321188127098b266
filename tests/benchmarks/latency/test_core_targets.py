"""The whole of it, on the small checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest

from scumble_bench.latency import core_targets
from scumble_bench.latency.core_targets import main
from scumble_bench.latency.parts import Part
from scumble_bench.latency.provenance import versions
from scumble_bench.latency.targets import TARGETS, Finding


def command(small: Path, out: Path, *more: str) -> list[str]:
    """Two steps of the small checkpoint, which stands for both models."""
    return [
        "--out", str(out), "--model", str(small), "--shape", str(small), "--steps", "2",
        "--rounds", "1", "--warmup", "0", "--pixels", "0", "--gpu-pixels", "0", "--edits", "1",
        "--threads", "1", *more,
    ]  # fmt: skip


def found(report: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(v["target"], v["engine"]): v for part in report.values() for v in part["targets"]}


@pytest.mark.thorough
def test_every_target_gets_a_verdict_and_every_part_its_provenance(
    small: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "results" / "core.json"
    packs = ("--pack", str(pack), "--shape-pack", str(pack))
    main(command(small, out, "--device", "cpu", *packs))
    report = json.loads(out.read_text())
    verdicts = found(report)
    assert {target for target, _ in verdicts} == {target.name for target in TARGETS}
    for target in (t.name for t in TARGETS if t.part != "precision" and t.unit != "seconds"):
        # A gradient's graph is compared with torch's; the others are measured on both.
        for engine in ("onnxruntime",) if target == "gradient.graph" else ("torch", "onnxruntime"):
            verdict = verdicts[target, engine]
            assert verdict["verdict"] in ("met", "missed"), verdict
    for verdict in verdicts.values():
        assert verdict["why"] or verdict["verdict"] != "not measured"
        assert verdict["threshold"]
    for part in report.values():
        assert part["failure"] is None
        origin = part["provenance"]
        assert origin["versions"] == versions()
        assert (origin["threads"], len(origin["load_average"])) == (1, 3)
        assert all(len(sha) == 64 for sha in origin["weights_sha256"].values())
        assert origin["weights_sha256"]
    assert "demo.first" in capsys.readouterr().out


class Made:
    """Parts that cost nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.values = {"demo.first": 5.0, "shapes.first": 5.0}
        made = {"demo": self.part("demo"), "shapes": self.part("shapes")}
        monkeypatch.setattr(core_targets, "PARTS", made)

    def part(self, name: str) -> Any:
        def measure(settings: Any) -> Part:
            self.ran.append(name)
            if self.values[f"{name}.first"] < 0:
                raise OSError("no disk")
            value = self.values[f"{name}.first"]
            return Part(findings=[Finding(f"{name}.first", "torch", value)], weights={name: "sha"})

        return measure


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    return Made(monkeypatch)


def test_a_missed_target_is_the_exit_code(made: Made, small: Path, tmp_path: Path):
    out = tmp_path / "core.json"
    assert main(command(small, out)) == 0
    made.values["shapes.first"] = 1.0
    assert main(command(small, out)) == 1
    verdicts = found(json.loads(out.read_text()))
    assert verdicts["demo.first", "torch"]["verdict"] == "met"
    assert verdicts["shapes.first", "torch"]["verdict"] == "missed"
    assert verdicts["shapes.next", "any"]["why"] == "this part did not look at it"
    origin = json.loads(out.read_text())["demo"]["provenance"]
    assert (origin["weights_sha256"], origin["threads"]) == ({"demo": "sha"}, 1)


def test_parts_left_out_keep_what_was_measured(made: Made, small: Path, tmp_path: Path):
    out = tmp_path / "core.json"
    main(command(small, out, "--only", "demo"))
    assert made.ran == ["demo"]
    verdicts = found(json.loads(out.read_text()))
    assert verdicts["shapes.first", "any"]["why"] == "this part was never run"
    made.values["demo.first"] = 1.0
    main(command(small, out, "--only", "shapes"))
    verdicts = found(json.loads(out.read_text()))
    assert verdicts["demo.first", "torch"]["value"] == 5
    assert verdicts["shapes.first", "torch"]["value"] == 5


def test_a_part_that_fails_is_reported_with_its_cause(made: Made, small: Path, tmp_path: Path):
    made.values["demo.first"] = -1
    out = tmp_path / "core.json"
    main(command(small, out))
    report = json.loads(out.read_text())
    assert report["demo"]["failure"] == "OSError: no disk"
    assert found(report)["demo.first", "any"]["why"] == "OSError: no disk"
    assert found(report)["shapes.first", "torch"]["verdict"] == "met"
    assert "date" in report["demo"]["provenance"]
