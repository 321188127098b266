"""Metrics by name: what is loaded, left out and refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import EngineError, OptionError
from scumble_bench.evaluation.metrics.loading import load_metrics
from scumble_bench.evaluation.metrics.metric import METRICS
from scumble_bench.evaluation.metrics.protocol import read_protocol

PACKAGE = "scumble_bench.evaluation.metrics"


def names(metrics: Any) -> list[str]:
    return [metric.name for metric in metrics]


def test_default_is_what_there_are_files_for_and_the_rest_is_told(squeezenet_file: Path):
    notes: list[str] = []
    found = load_metrics(lpips=squeezenet_file, note=notes.append)
    assert names(found) == ["psnr", "lpips", "mse", "ssim"]
    assert [note.split()[0] for note in notes] == ["structure", "clip_whole", "clip_edited"]
    assert "needs dino, a folder with a DINO ViT" in notes[0]


def test_with_every_file_default_is_everything(
    clip_folder: Path, squeezenet_file: Path, dino_folder: Path
):
    notes: list[str] = []
    files: dict[str, Any] = {"clip": clip_folder, "lpips": squeezenet_file, "dino": dino_folder}
    assert names(load_metrics(**files, note=notes.append)) == list(METRICS)
    assert not notes


def test_named_metrics_come_in_the_order_of_the_table():
    assert names(load_metrics(["ssim", "psnr"])) == ["psnr", "ssim"]


def test_a_metric_that_was_named_is_never_left_out():
    with pytest.raises(OptionError, match="the metric clip_edited needs clip, a folder with"):
        load_metrics(["psnr", "clip_edited"])
    with pytest.raises(OptionError, match="the metric lpips needs lpips, the file of torchvision"):
        load_metrics(["default", "lpips"])


def test_unknown_names_are_refused():
    with pytest.raises(OptionError, match="no metric 'fid'; write default or some of structure"):
        load_metrics(["psnr", "fid"])
    with pytest.raises(OptionError, match="no metric was named"):
        load_metrics([])


def test_a_protocol_is_a_name_or_itself(edit: Any):
    by_name, itself, plain = (
        load_metrics(["mse"], protocol=protocol)[0](edit.source, edit.edited, edit.mask, "")
        for protocol in ("jpeg-75", read_protocol("jpeg-75"), "plain")
    )
    assert by_name == itself != plain
    assert load_metrics(["mse"])[0](edit.source, edit.edited, edit.mask, "") == by_name, (
        "as published unless said otherwise"
    )
    with pytest.raises(OptionError, match="no way of measuring named 'exact'"):
        load_metrics(["mse"], protocol="exact")


def test_a_missing_extra_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch):
    for name in ("networks", "fidelity", "lpips"):
        monkeypatch.delitem(sys.modules, f"{PACKAGE}.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    for name in [name for name in sys.modules if name.startswith("torchmetrics.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EngineError, match=r"torchmetrics.*pip install 'scumble\[eval\]'"):
        load_metrics(["psnr"])
