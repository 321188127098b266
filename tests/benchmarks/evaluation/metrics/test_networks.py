"""Each metric around its own arithmetic, and each network loaded once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble_bench.evaluation.metrics import clip as clip_module
from scumble_bench.evaluation.metrics.clip import Clip
from scumble_bench.evaluation.metrics.dino import Dino
from scumble_bench.evaluation.metrics.fidelity import mse, psnr, ssim
from scumble_bench.evaluation.metrics.lpips import Lpips
from scumble_bench.evaluation.metrics.metric import METRICS
from scumble_bench.evaluation.metrics.networks import make
from scumble_bench.evaluation.metrics.protocol import read_protocol

PROMPT = "a red sofa"


@pytest.fixture
def given(clip_folder: Path, squeezenet_file: Path, dino_folder: Path) -> dict[str, str | Path]:
    return {"clip": clip_folder, "lpips": squeezenet_file, "dino": dino_folder}


def test_every_metric_is_around_its_own_arithmetic(given: dict[str, str | Path], edit: Any):
    plain = read_protocol("plain")
    metrics = make(list(METRICS), given, plain, "cpu")
    assert [metric.name for metric in metrics] == list(METRICS)
    found = {metric.name: metric(edit.source, edit.edited, edit.mask, PROMPT) for metric in metrics}
    keep = 1 - edit.mask[..., None].astype(np.float32)
    kept = [part.astype(np.float32) / np.float32(255) * keep for part in edit[:2]]
    clip = Clip(given["clip"])
    wanted = {
        "structure": Dino(given["dino"], plain)(edit.source, edit.edited),
        "psnr": psnr(*kept),
        "lpips": Lpips(given["lpips"])(*kept),
        "mse": mse(*kept),
        "ssim": ssim(*kept, cropped=False),
        "clip_whole": clip(edit.edited, PROMPT),
        "clip_edited": clip(np.where(edit.mask[..., None], edit.edited, np.uint8(0)), PROMPT),
    }
    assert found == pytest.approx(wanted, rel=1e-5)
    assert all(np.isfinite(value) for value in found.values())


def test_clip_is_loaded_once_for_both_and_not_at_all_for_others(
    given: dict[str, str | Path], monkeypatch: pytest.MonkeyPatch
):
    loaded: list[str | Path] = []

    class Counted(Clip):
        def __init__(self, folder: str | Path, *, device: str = "cpu") -> None:
            loaded.append(folder)
            super().__init__(folder, device=device)

    monkeypatch.setattr(clip_module, "Clip", Counted)
    plain = read_protocol("plain")
    assert len(make(["clip_whole", "clip_edited"], given, plain, "cpu")) == 2
    assert loaded == [given["clip"]]
    make(["psnr", "lpips"], given, plain, "cpu")
    assert len(loaded) == 1
