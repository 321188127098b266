import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from scumble.errors import OptionError
from scumble_bench.latency import bench as benching
from scumble_bench.latency.bench import SHORT_PEERS, BenchPlan
from scumble_bench.latency.command import bench, pixels
from scumble_bench.latency.records import Bench, Measured, Range

RUNNER = CliRunner()
APP = typer.Typer()
APP.command()(bench)


def report(failure: str | None = None, ratio: float = 1.0) -> Bench:
    one = Range(median=ratio, p10=ratio, p90=ratio)
    cell = Measured(
        name="only", method="m", engine="e", precision="fp32", model="x", size=(8, 8), steps=2,
        edit="first", seconds=(1.0,), spread=one, ratio=one, failure=failure,
    )  # fmt: skip
    origin: dict[str, Any] = {"cpu": "one", "commit": "abc"}
    return Bench(provenance=origin, settings={}, baseline="only", cells=(cell,))


class Fake:
    """Takes the place of the measurements."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plans: list[BenchPlan] = []
        self.made = report()
        monkeypatch.setattr(benching, "run_bench", self)

    def __call__(self, plan: BenchPlan, begin: Any) -> Bench:
        self.plans.append(plan)
        begin("edits", 2)("only")
        return self.made


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return Fake(monkeypatch)


def test_options_become_the_plan(fake: Fake, tmp_path: Path):
    asked = (
        "--method a --method b --engine torch --precision bf16 --model m --size 16x8 --steps 3 "
        "--edit next --convention current --peer none --baseline base --rounds 2 --warmup 0 "
        "--threads 1 --device cuda --seed 4 --no-memory --no-loading --no-limits --no-growth "
        "--no-gradient --export --build"
    )
    done = RUNNER.invoke(APP, [*asked.split(), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    (plan,) = fake.plans
    axes = plan.axes
    assert (axes.methods, axes.engines, axes.precisions) == (("a", "b"), ("torch",), ("bf16",))
    assert (axes.models, axes.sizes, axes.steps, axes.edits) == (
        ("m",), ((16, 8),), (3,), ("next",)
    )  # fmt: skip
    assert axes.conventions == ("current",)
    assert (plan.peers, plan.baseline, plan.rounds, plan.warmup) == ((), "base", 2, 0)
    assert (plan.threads, plan.device, plan.seed) == (1, "cuda", 4)
    assert not any((plan.memory, plan.loading, plan.limits, plan.growth, plan.gradient))
    assert (plan.export, plan.build) == (True, True)


def test_nothing_asked_is_the_default_matrix_and_short_is_shorter(fake: Fake, tmp_path: Path):
    RUNNER.invoke(APP, ["--out", str(tmp_path)])
    RUNNER.invoke(APP, ["--short", "--out", str(tmp_path)])
    usual, short = fake.plans
    assert usual == BenchPlan()
    assert (short.axes.steps, short.peers) == ((10,), SHORT_PEERS)


def test_the_report_is_written_and_printed(fake: Fake, tmp_path: Path):
    done = RUNNER.invoke(APP, ["--out", str(tmp_path / "report")])
    assert done.exit_code == 0
    assert Bench.read(tmp_path / "report" / "bench.json") == fake.made
    assert "bench.json" in done.output
    done = RUNNER.invoke(APP, ["--json", "--out", str(tmp_path / "report")])
    assert json.loads(done.stdout.splitlines()[-1])["baseline"] == "only"


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_cell_that_failed_is_the_exit_code(fake: Fake, tmp_path: Path, form: list[str]):
    fake.made = report("no disk")
    done = RUNNER.invoke(APP, [*form, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "failed: only: no disk" in done.output
    # It is in the report all the same.
    assert Bench.read(tmp_path / "bench.json").cells[0].failure == "no disk"


def test_two_reports_are_compared_and_nothing_is_run(fake: Fake, tmp_path: Path):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, ratio in zip(paths, (2.0, 4.0), strict=True):
        path.write_text(report(ratio=ratio).model_dump_json())
    done = RUNNER.invoke(APP, ["--compare", *map(str, paths), "--json"])
    assert done.exit_code == 0, done.output
    (change,) = json.loads(done.stdout)["changes"]
    assert (change["name"], change["ratio"]) == ("only", 2)
    done = RUNNER.invoke(APP, ["--compare", *map(str, paths)])
    assert "only" in done.output
    assert fake.plans == []


def test_what_is_no_report_is_refused(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    for first in (path, tmp_path / "none.json"):
        done = RUNNER.invoke(APP, ["--compare", str(first), str(path)])
        assert isinstance(done.exception, OptionError)
        assert "no report" in str(done.exception)


def test_what_cannot_be_is_refused(fake: Fake):
    assert pixels("16x8") == (16, 8)
    for wrong in ("16", "ax8", "16x8x3"):
        with pytest.raises(OptionError, match="HEIGHTxWIDTH"):
            pixels(wrong)
    assert isinstance(RUNNER.invoke(APP, ["--edit", "last"]).exception, OptionError)
    assert isinstance(RUNNER.invoke(APP, ["--convention", "next"]).exception, OptionError)
    assert fake.plans == []


def test_help_needs_no_runtime():
    code = (
        "import sys, scumble_bench.latency.command as c; "
        "print([m for m in ('torch', 'matplotlib', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scumble_bench.latency.bench", None)
    done = RUNNER.invoke(APP, [])
    assert "pip install 'scumble[bench]'" in str(done.exception)
