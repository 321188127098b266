import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble_bench.reports.measured_points import FILES, points_from_results
from scumble_bench.reports.points import QualityPoint


@pytest.fixture(scope="module")
def results(repository: Path) -> Path:
    return repository / "benchmarks" / "results"


@pytest.fixture(scope="module")
def points(results: Path) -> list[QualityPoint]:
    return points_from_results(results)


def rows(results: Path, name: str) -> list[dict[str, Any]]:
    return json.loads((results / name).read_text())["rows"]


def test_every_method_and_inversion_measured_appears(results: Path, points: list[QualityPoint]):
    methods = {point.method for point in points}
    for row in (*rows(results, FILES[0]), *rows(results, FILES[1])):
        assert row["method"] is None or row["method"] in methods
        names = {name for point in points for name in (point.label, *point.also)}
        assert row["name"] in names
    inversions = {point.inversion for point in points if point.task == "colour"}
    assert {row["inversion"] for row in rows(results, FILES[2])} <= inversions


def test_labels_are_unique_within_a_task(points: list[QualityPoint]):
    named = [(point.task, name) for point in points for name in (point.label, *point.also)]
    assert len(named) == len(set(named))


def test_points_of_a_task_are_of_the_same_pictures(results: Path, points: list[QualityPoint]):
    colour = [point for point in points if point.task == "colour"]
    assert len(colour) > 15
    assert len({point.pictures for point in colour}) == 1
    (row,) = [row for row in rows(results, FILES[0]) if row["name"] == "Prompt-to-Prompt, swap"
              and row["task"] == "colour"]  # fmt: skip
    (point,) = [point for point in colour if point.label == row["name"]]
    values = [float(one) for one in row["values"]["psnr"].split()]
    assert row["edits"] > point.pictures, "this test is about the scenes that others lack"
    assert point.psnr == pytest.approx(np.mean(values[: point.pictures]))


def test_a_row_of_a_file_that_needs_no_cut_is_as_there(results: Path, points: list[QualityPoint]):
    known = {point.label: point for point in points if point.task == "colour"}
    for row in rows(results, FILES[1]):
        if row["name"] in known:
            point = known[row["name"]]
            assert point.success == pytest.approx(row["mean"]["success"], abs=1e-4)
            assert point.psnr == pytest.approx(row["mean"]["psnr"], abs=1e-4)
            assert point.success_interval == pytest.approx(row["interval"]["success"], abs=1e-4)
            assert (point.rows, point.masked) == (row["mean"]["rows"], row["masked"])


def test_one_measurement_under_two_names_is_one_point(results: Path, points: list[QualityPoint]):
    (point,) = [p for p in points if p.label == "Prompt-to-Prompt, swap" and p.task == "colour"]
    # The inversions are a run of their own: by another engine it is not the same measurement.
    of_inversions = json.loads((results / "inversions.json").read_text())
    same_engine = of_inversions["engine"] == point.engine
    assert point.also == ("Prompt-to-Prompt", *["Prompt-to-Prompt + direct"] * same_engine)


def test_what_inverts_nothing_says_so(points: list[QualityPoint]):
    inversions = {point.label: point.inversion for point in points}
    assert inversions["SDEdit"] is None
    assert inversions["layout swap"] is None
    assert inversions["DiffEdit"] == "direct"
    assert inversions["Prompt-to-Prompt + null-text"] == "null_text"


def test_layouts_have_no_outside(points: list[QualityPoint]):
    assert all((point.psnr is None) == (point.task == "layout") for point in points)


def test_files_without_a_common_scene_are_refused(results: Path, tmp_path: Path):
    for name in FILES:
        shutil.copy(results / name, tmp_path)
    report = json.loads((tmp_path / FILES[1]).read_text())
    seeds = report["cases"]["seeds"].split()
    report["cases"]["seeds"] = " ".join(f"9{seed}" for seed in seeds)
    (tmp_path / FILES[1]).write_text(json.dumps(report))
    with pytest.raises(ValueError, match="'colour' have no scene in common"):
        points_from_results(tmp_path)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"methods\.json"):
        points_from_results(tmp_path)
