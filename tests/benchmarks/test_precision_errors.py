"""How the figures of the precision guide are measured; on the tiny model, and a little of rooms."""

import json
import math
from pathlib import Path

import pytest

from scumble_bench import precision_errors
from scumble_bench.precision_errors import main, picture_errors, step_errors

pytestmark = pytest.mark.thorough


def test_each_precision_is_as_far_from_fp64_as_its_digits(small: Path):
    found = step_errors(small, ("fp32", "bf16"))
    for name in ("noise", "noise_most", "map"):
        assert 1e-8 < found["fp32"][name] < 1e-5
        assert 1e-4 < found["bf16"][name] < 5e-2
    assert step_errors(small, ("fp64",))["fp64"] == {"noise": 0, "noise_most": 0, "map": 0}


def test_pictures_are_near_and_not_the_same():
    (found,) = picture_errors("rooms", "bf16", 1, 2).values()
    assert 25 < found < 99
    assert list(picture_errors("rooms", "fp32", 1, 2).values()) == [99]


def test_the_report_says_of_what_and_where(small: Path, tmp_path: Path):
    out = tmp_path / "figures.json"
    main(["--models", str(small), "--edits", "0", "--out", str(out)])
    report = json.loads(out.read_text())
    assert set(report["steps_to_fp64"][small.name]) == {"fp32", "bf16"}
    assert report["provenance"]["weights_sha256"].keys() == {small.name}
    assert "pictures_to_fp32" not in report


def test_the_guide_gives_the_figures_that_were_measured(repository: Path):
    """Errors to two digits; the worst picture rounded down, as the guide says "or more"."""
    report = json.loads(precision_errors.RESULTS.read_text())
    guide = (repository / "docs/guides/precision.md").read_text()
    for model, precisions in report["steps_to_fp64"].items():
        for precision, errors in precisions.items():
            shown = [f"{errors[name]:.1e}" for name in ("noise", "noise_most", "map")]
            assert f"| {model} | `{precision}` | {' | '.join(shown)} |" in guide
    worst = min(report["pictures_to_fp32"]["bf16, PSNR in dB"].values())
    assert f"{math.floor(worst * 10) / 10} dB" in guide
